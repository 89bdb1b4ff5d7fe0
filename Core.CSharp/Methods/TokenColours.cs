using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>A colour for each word of a vocabulary, so that a person sees which patches share a word.</summary>
internal static class TokenColours
{
    // Hues a golden section apart stay far from each other for any number of words.
    private const double GoldenSection = 0.6180339887498949;

    private static readonly double[] Values = [1, 0.8, 0.6];
    private static readonly double[] Saturations = [0.55, 0.85, 0.7];

    /// <summary>Patches in the colours of their words.</summary>
    /// <param name="tokens">(N, rows · columns) int64.</param>
    /// <param name="rows">Patches along the height.</param>
    /// <param name="columns">Patches along the width.</param>
    /// <param name="patch">Side of a patch in pixels.</param>
    /// <param name="vocabulary">Number of words.</param>
    /// <returns>(N, 3, rows · patch, columns · patch) float32, from 0 to 1.</returns>
    public static torch.Tensor Map(torch.Tensor tokens, int rows, int columns, int patch, int vocabulary)
    {
        using var scope = torch.NewDisposeScope();
        var colours = torch.tensor(Enumerable.Range(0, vocabulary).SelectMany(Colour).ToArray()).reshape(vocabulary, 3).to(tokens.device);
        var n = tokens.size(0);
        return colours.index_select(0, tokens.reshape(-1))
            .reshape(n, rows, 1, columns, 1, 3)
            .expand(n, rows, patch, columns, patch, 3)
            .reshape(n, rows * patch, columns * patch, 3)
            .permute(0, 3, 1, 2)
            .MoveToOuterDisposeScope();
    }

    private static float[] Colour(int word)
    {
        var hue = 6 * (word * GoldenSection % 1);
        var (value, saturation) = (Values[word % 3], Saturations[word / 3 % 3]);
        return [Part(5), Part(3), Part(1)];

        // One channel of hue, saturation and value as red, green and blue.
        float Part(double offset)
        {
            var k = (offset + hue) % 6;
            return (float)(value - (value * saturation * Math.Clamp(Math.Min(k, 4 - k), 0, 1)));
        }
    }
}
