using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Runtime;

/// <summary>Rows scaled to length 1, of whatever size they are: their squares neither overflow nor take the direction with them.</summary>
public static class UnitRows
{
    /// <summary>What shorter rows are divided by; PyTorch's own.</summary>
    public const double Floor = 1e-12;

    // Rows with an element above 2⁴⁰ are scaled down to it first; all others are divided by exactly 1.
    private const double Least = 1.0 / (1L << 40);

    /// <summary>x/max(|x|, floor) for each row x, with its gradient.</summary>
    /// <param name="rows">(N, d) floating point.</param>
    /// <param name="floor">Above 0.</param>
    /// <returns>(N, d), each row of length 1 or less; not finite where a row isn't.</returns>
    public static Tensor Of(Tensor rows, double floor = Floor)
    {
        using var bounded = Bounded(rows);
        return nn.functional.normalize(bounded, 2, 1, floor);
    }

    /// <summary>The same directions, with squares that can be added up; most rows unchanged.</summary>
    /// <param name="rows">(N, d) floating point.</param>
    public static Tensor Bounded(Tensor rows)
    {
        using Scalar least = Least.ToScalar(), one = (1.0).ToScalar();
        using var scope = NewDisposeScope();
        Tensor scale;
        using (no_grad())
        {
            scale = rows.detach().abs().amax([1L], keepdim: true).mul_(least).clamp_(one);
        }

        return rows.div(scale).MoveToOuterDisposeScope();
    }
}
