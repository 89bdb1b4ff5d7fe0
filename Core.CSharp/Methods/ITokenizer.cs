using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>A trained method that says of every patch of an image which word of its vocabulary it is.</summary>
public interface ITokenizer : IDisposable
{
    /// <summary>Number of words.</summary>
    int Vocabulary { get; }

    /// <summary>Side of the patches in pixels.</summary>
    int Patch { get; }

    /// <summary>One word for each patch; no gradient, networks in evaluation mode.</summary>
    /// <param name="images">(N, C, H, W) float32, normalised; sides divisible by <see cref="Patch"/>.</param>
    /// <returns>(N, P) int64 from 0 to <see cref="Vocabulary"/> − 1, patches row by row.</returns>
    torch.Tensor Tokens(torch.Tensor images);
}
