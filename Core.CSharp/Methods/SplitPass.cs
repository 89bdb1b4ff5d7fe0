using SslResearch.Core.Models;
using static TorchSharp.torch;

namespace SslResearch.Core.Methods;

/// <summary>Encoder and head on a batch in chunks, each with batch-norm statistics of its own, as several devices would see it.</summary>
internal static class SplitPass
{
    /// <param name="encoder">The network.</param>
    /// <param name="head">What follows it; null for nothing.</param>
    /// <param name="images">(N, C, H, W).</param>
    /// <param name="chunks">How many; their sizes differ by one image at most. Running statistics are updated by each in turn.</param>
    /// <returns>(N, p), in the order of the images.</returns>
    public static Tensor Run(Backbone encoder, ProjectionHead? head, Tensor images, int chunks)
    {
        if (chunks == 1)
        {
            return Whole(encoder, head, images);
        }

        var count = images.shape[0];
        if (count < 2L * chunks)
        {
            throw new ArgumentException(
                $"A batch of {count} images does not fill {chunks} chunks of at least 2: take a larger batch or fewer splits of the batch norm.", nameof(images));
        }

        using var scope = NewDisposeScope();
        var parts = new Tensor[chunks];
        for (var c = 0; c < chunks; c++)
        {
            var start = count * c / chunks;
            parts[c] = Whole(encoder, head, images.narrow(0, start, (count * (c + 1) / chunks) - start));
        }

        return cat(parts, 0).MoveToOuterDisposeScope();
    }

    private static Tensor Whole(Backbone encoder, ProjectionHead? head, Tensor images)
    {
        var h = encoder.call(images);
        if (head is null)
        {
            return h;
        }

        var z = head.call(h);
        h.Dispose();
        return z;
    }
}
