using SslResearch.Core.Models;
using static TorchSharp.torch;

namespace SslResearch.Core.Methods;

/// <summary>Encoder and head one after the other.</summary>
internal static class HeadedPass
{
    /// <param name="encoder">The network.</param>
    /// <param name="head">What follows it; null for nothing.</param>
    /// <param name="images">(N, C, H, W).</param>
    /// <returns>(N, p).</returns>
    public static Tensor Run(Backbone encoder, ProjectionHead? head, Tensor images)
    {
        var h = encoder.call(images);
        if (head is null)
        {
            return h;
        }

        var z = head.call(h);
        h.Dispose(); // without autograd this frees it at once
        return z;
    }
}
