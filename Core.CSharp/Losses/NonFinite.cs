using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>Keeps what is not finite visible where a formula cuts it off, as a hyperbolic tangent does with infinity: a divergence shall show in the loss.</summary>
internal static class NonFinite
{
    /// <summary>The loss itself, or NaN where an input is not finite.</summary>
    public static Tensor Carried(Tensor loss, Tensor input)
    {
        using var frozen = no_grad();
        using var none = input.mul(Scalars.Of(0)).sum().to(loss.dtype);
        using (enable_grad())
        {
            return loss.add(none);
        }
    }
}
