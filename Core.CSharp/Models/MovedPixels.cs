using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// An image whose pixels have moved: each pixel is a weighted mean of the source's pixels in a window around it, with weights of its own
/// (Jia et al. 2016, "Dynamic filter networks"; Finn et al. 2016 call it dynamic neural advection). Beyond the border the border's pixels go on.
/// </summary>
public static class MovedPixels
{
    /// <summary>Weights of a pixel: (2·reach + 1)², row by row from the upper left.</summary>
    public static int Window(int reach) => ((2 * reach) + 1) * ((2 * reach) + 1);

    /// <summary>Moves pixels.</summary>
    /// <param name="scores">
    /// (M, H, W, <see cref="Window"/>) float32 or float64: weights are their softmax after ln(window − 1) was added to the middle one, so that with
    /// equal scores half of the weight stays where it is.
    /// </param>
    /// <param name="source">(M, C, H, W), same dtype.</param>
    /// <param name="reach">How far a pixel can come from, at least 1.</param>
    /// <returns>(M, C, H, W).</returns>
    /// <exception cref="ArgumentException">Shapes that do not fit.</exception>
    public static Tensor Apply(Tensor scores, Tensor source, int reach)
    {
        if (reach < 1 || Aten.Sizes(source) is not [var m, _, > 0 and var height, > 0 and var width]
            || !Aten.Sizes(scores).SequenceEqual([m, height, width, Window(reach)]))
        {
            throw new ArgumentException(
                $"expected scores (M, H, W, {Window(reach)}) for a source (M, C, H, W) and a reach of at least 1; received ({string.Join(", ", scores.shape)}), ({string.Join(", ", source.shape)}) and {reach}",
                nameof(scores));
        }

        using var scope = NewDisposeScope();
        var side = (2 * reach) + 1;
        var window = side * side;
        var stay = zeros(window, scores.dtype, scores.device);
        stay.narrow(0, window / 2, 1).fill_(Scalars.Of(Math.Log(window - 1)));
        var weights = scores.add(stay).softmax(-1).permute(3, 0, 1, 2).contiguous().unbind(0); // window times (M, H, W)
        long[] border = [reach, reach, reach, reach];
        var padded = nn.functional.pad(source, border, PaddingModes.Replicate);
        Tensor? moved = null;
        for (var i = 0; i < window; i++)
        {
            var (down, right) = Math.DivRem(i, side);
            var part = weights[i].unsqueeze(1).mul(padded.narrow(2, down, height).narrow(3, right, width)); // (M, C, H, W)
            if (moved is null)
            {
                moved = part;
            }
            else
            {
                moved.add_(part);
                part.Dispose(); // or as many images as the window has pixels would lie in memory at once
            }
        }

        return moved!.MoveToOuterDisposeScope();
    }
}
