using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Swapped prediction (Caron et al. 2020, eq. 2 and 6): the code of each large crop is predicted from every other crop of its image,
/// <c>−Σₖ qₖ log softmax(z·c/τ)ₖ</c>, mean over images and over all pairs of a code and a crop. Large crops come first.
/// </summary>
public static class SwavLoss
{
    /// <summary>Crops of each image that get a code.</summary>
    public const int CodedCrops = 2;

    /// <summary>Loss of a batch with given codes.</summary>
    /// <param name="scores">(V·N, K) float32 or float64: row v·N + i is crop v of image i, times the prototypes.</param>
    /// <param name="codes">(2N, K) or, for A coded crops, (A·N, K); no gradient reaches them.</param>
    /// <param name="crops">V ≥ 2.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>Scalar of the scores' type, with its graph.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ is not positive.</exception>
    public static Tensor Loss(Tensor scores, Tensor codes, int crops, double temperature) => CrossViewEntropy.Mean(scores, codes, crops, temperature);

    /// <summary>Codes of the large crops, by <see cref="Sinkhorn"/> of each crop for itself.</summary>
    /// <param name="scores">(2N, K): the first crops of all images, then the second.</param>
    /// <param name="queued">
    /// (2Q, K): scores of earlier images' first crops, then their second, which make the assignment more representative where N is small
    /// (section 4.1), or null.
    /// </param>
    /// <param name="epsilon">ε.</param>
    /// <param name="iterations">Of Sinkhorn.</param>
    /// <returns>(2N, K), detached.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or ε or the number of iterations is impossible.</exception>
    public static Tensor Codes(Tensor scores, Tensor? queued, double epsilon, int iterations)
    {
        if (scores.shape is not [var rows, var width] || rows < CodedCrops || rows % CodedCrops != 0)
        {
            throw new ArgumentException($"expected (2N, K) with N ≥ 1, received ({string.Join(", ", scores.shape)})", nameof(scores));
        }

        if (queued is not null && (queued.shape is not [var queuedRows, var queuedWidth] || queuedWidth != width || queuedRows % CodedCrops != 0))
        {
            throw new ArgumentException($"expected (2Q, {width}), received ({string.Join(", ", queued.shape)})", nameof(queued));
        }

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var (images, remembered) = (rows / CodedCrops, (queued?.shape[0] ?? 0) / CodedCrops);
        var codes = new Tensor[CodedCrops];
        for (var crop = 0; crop < CodedCrops; crop++)
        {
            var own = scores.narrow(0, crop * images, images);
            codes[crop] = queued is null || remembered == 0
                ? Sinkhorn.Codes(own, epsilon, iterations)
                : Sinkhorn.Codes(cat([own, queued.narrow(0, crop * remembered, remembered)], 0), epsilon, iterations).narrow(0, 0, images);
        }

        return cat(codes, 0).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// ln K: exactly what equal scores of all prototypes cost, whatever the codes; and what equal embeddings cost at best, since their codes are uniform.
    /// </summary>
    public static double Chance(int prototypes) => Math.Log(prototypes);
}
