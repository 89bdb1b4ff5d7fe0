namespace SslResearch.Core.Augment;

/// <summary>A thread's memory for whole views that are rendered before they are cut, turned or converted; apart from <see cref="Workspace"/>, which rendering itself uses.</summary>
internal static class Scratch
{
    [ThreadStatic]
    private static float[]? memory;

    /// <summary>At least what was asked for; allocates only where a thread needs more than ever before. Contents are left over from before.</summary>
    public static Span<float> Floats(int count)
    {
        if (memory is null || memory.Length < count)
        {
            memory = GC.AllocateUninitializedArray<float>(count);
        }

        return memory.AsSpan(0, count);
    }
}
