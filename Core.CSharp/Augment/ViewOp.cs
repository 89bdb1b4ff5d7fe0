using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// One operation of a view, as a value. It draws its parameters from a generator and names them; pixels are the business of
/// <see cref="ViewPipeline"/>. The meaning of each operation is torchvision's on float tensors, without rounding between operations.
/// </summary>
public abstract record ViewOp
{
    /// <summary>What is wrong with the operation's own values, one sentence each; empty when all is well.</summary>
    public abstract IEnumerable<string> Problems();

    /// <summary>Parameters for one image of this size; <see cref="OpDraw.Applied"/> is false where the operation is left out.</summary>
    internal abstract OpDraw Draw(ref Philox random, int height, int width);

    /// <summary>The drawn parameters in a few words.</summary>
    internal abstract string Describe(in OpDraw draw);

    /// <summary>Size of the result for an image of this size.</summary>
    internal virtual (int Height, int Width) OutputSize(int height, int width) => (height, width);

    /// <summary>One draw decides; it is taken even for 0 and 1, so that a changed probability moves no other draw.</summary>
    private protected static bool Happens(ref Philox random, double probability) => random.NextDouble() < probability;

    private protected static IEnumerable<string> CheckProbability(string op, double p) =>
        p is >= 0 and <= 1 ? [] : [$"{op}: probability {p} is not in [0, 1]"];
}
