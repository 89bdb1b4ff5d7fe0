using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>The sum of squares off the diagonal of C = xᵀy/n.</summary>
internal static class OffDiagonal
{
    // Where the diagonal holds more than 99 % of all squares, their difference has lost two of float32's seven digits, and more beyond.
    private const double LeastPart = 0.01;

    /// <summary>Σᵢ Σ_{j≠i} Cᵢⱼ²: all squares less those on the diagonal, or, where little would be left of them, from the matrix itself.</summary>
    /// <param name="total">Scalar: Σᵢ Σⱼ Cᵢⱼ², by whatever way is shortest.</param>
    /// <param name="diagonal">Scalar: Σᵢ Cᵢᵢ².</param>
    /// <param name="x">(N, d).</param>
    /// <param name="y">(N, d).</param>
    /// <param name="n">What the products are divided by.</param>
    /// <returns>Scalar of 0 or more with its graph.</returns>
    public static Tensor Squares(Tensor total, Tensor diagonal, Tensor x, Tensor y, double n)
    {
        using var scope = NewDisposeScope();
        var difference = total.sub(diagonal);
        if (difference.detach().ge(total.detach().mul(Scalars.Of(LeastPart))).item<bool>())
        {
            return difference.MoveToOuterDisposeScope();
        }

        var matrix = MatrixProduct.Linear(x.t(), y.t()).div(Scalars.Of(n)); // (d, d)
        var own = eye(matrix.size(0), dtype: ScalarType.Bool, device: matrix.device);
        return matrix.masked_fill(own, Scalars.Of(0)).square().sum().MoveToOuterDisposeScope();
    }
}
