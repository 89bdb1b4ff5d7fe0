using TorchSharp;

namespace SslResearch.Core.Runtime;

/// <summary>
/// Numbers as arguments of torch's operations. TorchSharp hands an operation the address of a number's native copy; a number that nobody holds
/// can be finalised between that and the operation's reading it, which then reads freed memory. Those of a thread are held until it has made
/// some more of them, and freed then. An argument only: what is to live longer is a variable, <c>using var half = 0.5.ToScalar()</c>.
/// </summary>
public static class Scalars
{
    // More than the arguments of any one operation.
    private const int Held = 64;

    [ThreadStatic]
    private static Scalar?[]? ring;

    [ThreadStatic]
    private static int next;

    /// <summary>A float64 number.</summary>
    public static Scalar Of(double value) => Hold(value.ToScalar());

    /// <summary>A float32 number.</summary>
    public static Scalar Of(float value) => Hold(value.ToScalar());

    /// <summary>An int64 number.</summary>
    public static Scalar Of(long value) => Hold(value.ToScalar());

    /// <summary>An int32 number.</summary>
    public static Scalar Of(int value) => Hold(value.ToScalar());

    /// <summary>A truth value.</summary>
    public static Scalar Of(bool value) => Hold(value.ToScalar());

    private static Scalar Hold(Scalar scalar)
    {
        ring ??= new Scalar?[Held];
        ring[next]?.Dispose();
        ring[next] = scalar;
        next = (next + 1) % Held;
        return scalar;
    }
}
