using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>Tables of one position vector for each patch, row by row.</summary>
public static class PositionTable
{
    private const double DinoOffset = 0.1;

    /// <summary>
    /// Fixed vectors: the first half of the channels encodes the column, the second the row, each as sines then cosines of the coordinate at
    /// frequencies 10000^(-i / (width/4)) (He et al. 2022, as its code orders them).
    /// </summary>
    /// <param name="rows">Patches along the height.</param>
    /// <param name="columns">Patches along the width.</param>
    /// <param name="width">Length of a vector, divisible by 4.</param>
    /// <returns>(1, rows · columns, width) float32.</returns>
    /// <exception cref="ArgumentException">The width is not divisible by 4.</exception>
    public static Tensor SinCos(int rows, int columns, int width)
    {
        if (width < 4 || width % 4 != 0)
        {
            throw new ArgumentException($"Sine-cosine positions need a width divisible by 4; received {width}.", nameof(width));
        }

        var quarter = width / 4;
        var values = new float[rows * columns * width];
        for (var p = 0; p < rows * columns; p++)
        {
            for (var i = 0; i < quarter; i++)
            {
                var frequency = Math.Pow(10000, -(double)i / quarter);
                var vector = values.AsSpan(p * width, width);
                var (sine, cosine) = Math.SinCos(p % columns * frequency);
                vector[i] = (float)sine;
                vector[quarter + i] = (float)cosine;
                (sine, cosine) = Math.SinCos(p / columns * frequency);
                vector[(2 * quarter) + i] = (float)sine;
                vector[(3 * quarter) + i] = (float)cosine;
            }
        }

        return tensor(values, 1, rows * columns, width);
    }

    /// <summary>The same table for a grid of another size, bicubically (Caron et al. 2021); differentiable.</summary>
    /// <param name="table">(1, from.Rows · from.Columns, width).</param>
    /// <param name="from">Its grid.</param>
    /// <param name="to">The wanted grid; the same one gives the table itself.</param>
    /// <param name="resizing">Where between the table's places it is sampled.</param>
    /// <returns>(1, to.Rows · to.Columns, width).</returns>
    public static Tensor Resize(Tensor table, (int Rows, int Columns) from, (int Rows, int Columns) to, PositionResizing resizing = PositionResizing.Size)
    {
        if (from == to)
        {
            return table.alias();
        }

        using var scope = NewDisposeScope();
        var grid = table.unflatten(1, from.Rows, from.Columns).permute(0, 3, 1, 2); // (1, width, rows, columns)
        var resized = resizing == PositionResizing.DinoScale
            ? nn.functional.interpolate(
                grid,
                scale_factor: [(to.Rows + DinoOffset) / from.Rows, (to.Columns + DinoOffset) / from.Columns],
                mode: InterpolationMode.Bicubic,
                align_corners: false)
            : nn.functional.interpolate(grid, size: [to.Rows, to.Columns], mode: InterpolationMode.Bicubic, align_corners: false);
        return resized.permute(0, 2, 3, 1)
            .flatten(1, 2)
            .MoveToOuterDisposeScope();
    }
}
