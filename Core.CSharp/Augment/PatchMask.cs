using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>Which shapes hidden patches form. Draws are a pure function of the generator's position and allocate nothing.</summary>
public abstract record PatchMask
{
    private protected PatchMask()
    {
    }

    /// <summary>Number of patches to hide that this mask can hide and that is nearest to a share of all; of two equally near the even multiple.</summary>
    /// <param name="rows">Patches along the height.</param>
    /// <param name="columns">Patches along the width.</param>
    /// <param name="ratio">0 to 1.</param>
    /// <exception cref="ArgumentException">A ratio out of its range, or a grid that this mask cannot cover.</exception>
    public int Count(int rows, int columns, double ratio)
    {
        if (ratio is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"the share of hidden patches is from 0 to 1; received {ratio}", nameof(ratio));
        }

        var step = Step(rows, columns);
        return (int)Math.Round(ratio * rows * columns / step) * step;
    }

    /// <summary>Marks exactly <paramref name="count"/> patches.</summary>
    /// <param name="random">Moves on.</param>
    /// <param name="rows">Patches along the height.</param>
    /// <param name="columns">Patches along the width.</param>
    /// <param name="count">A number that <see cref="Count"/> gives.</param>
    /// <param name="hidden">rows × columns, row by row; receives true for hidden patches and false for others.</param>
    public abstract void Draw(ref Philox random, int rows, int columns, int count, Span<bool> hidden);

    /// <summary>Hidden patches come in multiples of this.</summary>
    private protected abstract int Step(int rows, int columns);
}

/// <summary>Squares of patches, each set of them equally likely (MAE: of one patch; SimMIM: of 32 pixels whatever the patch).</summary>
/// <param name="Unit">Patches along a square's side; it divides the rows and columns.</param>
public sealed record RandomPatches(int Unit) : PatchMask
{
    /// <inheritdoc/>
    public override void Draw(ref Philox random, int rows, int columns, int count, Span<bool> hidden)
    {
        var (across, squares) = (columns / Unit, rows / Unit * (columns / Unit));
        Span<int> order = stackalloc int[squares];
        random.Permutation(order);
        hidden.Clear();
        foreach (var square in order[..(count / (Unit * Unit))])
        {
            var (top, left) = (square / across * Unit, square % across * Unit);
            for (var row = top; row < top + Unit; row++)
            {
                hidden.Slice((row * columns) + left, Unit).Fill(true);
            }
        }
    }

    private protected override int Step(int rows, int columns) => Unit >= 1 && rows % Unit == 0 && columns % Unit == 0
        ? Unit * Unit
        : throw new ArgumentException($"squares of {Unit}x{Unit} patches do not tile {rows}x{columns} patches");
}

/// <summary>
/// Rectangles until enough patches are hidden (BEiT, Bao et al. 2022, algorithm 1), each of at least <paramref name="MinBlock"/> patches, its
/// ratio of height to width log-uniform from <paramref name="MinRatio"/> to its inverse, as in the authors' code. Rectangles may overlap; sides
/// longer than the grid are cut to it, where the authors draw again. The last one hides only as many of its patches as are still wanted, row by row, so that all images hide the same number; in the paper the
/// number differs from image to image.
/// </summary>
/// <param name="MinBlock">Patches of the smallest rectangle, at least 1; what is still wanted, where that is less.</param>
/// <param name="MinRatio">Above 0, at most 1.</param>
public sealed record BlockPatches(int MinBlock, double MinRatio) : PatchMask
{
    // Rectangles that hide nothing new are rare; after so many draws what is left is hidden row by row.
    private const int Draws = 1000;

    /// <inheritdoc/>
    public override void Draw(ref Philox random, int rows, int columns, int count, Span<bool> hidden)
    {
        hidden.Clear();
        var wanted = count;
        for (var draw = 0; draw < Draws && wanted > 0; draw++)
        {
            var area = random.NextDouble(Math.Min(MinBlock, wanted), wanted);
            var ratio = Math.Exp(random.NextDouble(Math.Log(MinRatio), -Math.Log(MinRatio)));
            var height = Math.Clamp((int)Math.Round(Math.Sqrt(area * ratio)), 1, rows);
            var width = Math.Clamp((int)Math.Round(Math.Sqrt(area / ratio)), 1, columns);
            var top = (int)random.NextBelow((uint)(rows - height + 1));
            var left = (int)random.NextBelow((uint)(columns - width + 1));
            wanted = Hide(hidden, columns, top, left, height, width, wanted);
        }

        Hide(hidden, columns, 0, 0, rows, columns, wanted);
    }

    private protected override int Step(int rows, int columns) => MinBlock >= 1 && MinRatio is > 0 and <= 1
        ? 1
        : throw new ArgumentException($"blocks have at least 1 patch and a smallest ratio above 0, at most 1; received {MinBlock} and {MinRatio}");

    /// <summary>Hides patches of a rectangle until none are wanted; how many still are.</summary>
    private static int Hide(Span<bool> hidden, int columns, int top, int left, int height, int width, int wanted)
    {
        for (var row = top; row < top + height; row++)
        {
            foreach (ref var patch in hidden.Slice((row * columns) + left, width))
            {
                if (!patch && wanted > 0)
                {
                    patch = true;
                    wanted--;
                }
            }
        }

        return wanted;
    }
}
