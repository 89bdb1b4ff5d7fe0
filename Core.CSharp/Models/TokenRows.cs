using TorchSharp;

namespace SslResearch.Core.Models;

/// <summary>Tokens by their place in a sequence.</summary>
public static class TokenRows
{
    /// <summary>The tokens of each sequence that an index names, in the index's order.</summary>
    /// <param name="tokens">(N, T, d).</param>
    /// <param name="places">(N, K) int64, each from 0 to T − 1.</param>
    /// <returns>(N, K, d).</returns>
    public static torch.Tensor Take(torch.Tensor tokens, torch.Tensor places)
    {
        using var scope = torch.NewDisposeScope();
        return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.size(2))).MoveToOuterDisposeScope();
    }
}
