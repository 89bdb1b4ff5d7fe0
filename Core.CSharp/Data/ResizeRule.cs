namespace SslResearch.Core.Data;

/// <summary>What an import does about image sizes.</summary>
public abstract record ResizeRule
{
    private ResizeRule()
    {
    }

    /// <summary>Nothing: sizes that differ are an error.</summary>
    public sealed record None : ResizeRule;

    /// <summary>Every image to this size; its aspect ratio is not kept.</summary>
    public sealed record Exact(int Height, int Width) : ResizeRule;

    /// <summary>The shorter side to <paramref name="Size"/>, then the square of that size from the middle.</summary>
    public sealed record ShorterSideThenCentreCrop(int Size) : ResizeRule;
}
