using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Kozachenko and Leonenko's estimator of entropy as a regulariser (Sablayrolles et al. 2019; DINOv2, section 4): <c>−mean ln d</c>, where d is the
/// distance of a vector, scaled to length 1, from its nearest neighbour in the batch. It spreads a batch over the sphere. The neighbour itself
/// gets a gradient too, as in the authors' code; which one it is, is a constant.
/// </summary>
public static class KoLeoLoss
{
    /// <summary>Images that a batch needs for a neighbour to be another one.</summary>
    public const int LeastRows = 2;

    // DINOv2's ε, in three places: vectors shorter than this are divided by it, it is added to every coordinate of a difference, and to d.
    private const double Epsilon = 1e-8;

    // Vectors nearer to each other than this are compared in double: in float32 the rounding of cosines decides there who is nearest, and the
    // distance itself has no more than five digits.
    private const double Resolved = 0.02;

    // Below any cosine. DINOv2 writes −1 on the diagonal, which ties with antipodal vectors; lightly writes −2.
    private const double Nobody = -2;

    /// <summary>Loss of a batch: at least −ln 2, the value for two opposite vectors.</summary>
    /// <remarks>
    /// Never below float32, and in double where vectors lie close: distances of neighbours are differences of almost equal numbers. Equal rows cost about −ln(ε(√d + 1)), 16 or so,
    /// with a finite gradient of the order 1/ε: clip it where that can happen. So does a single row, which is its own neighbour, with a gradient of 0;
    /// whoever builds batches sees to <see cref="LeastRows"/>.
    /// </remarks>
    /// <param name="rows">(N, d) float32 or float64; shorter types are widened to float32.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Not (N, d).</exception>
    public static Tensor Loss(Tensor rows)
    {
        if (Aten.Sizes(rows) is not [> 0, > 0])
        {
            throw new ArgumentException($"expected (N, d), received ({string.Join(", ", rows.shape)})", nameof(rows));
        }

        using Scalar epsilon = Epsilon.ToScalar();
        using var scope = NewDisposeScope();
        var type = rows.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var distance = Distances(rows.to(type));
        if (type == ScalarType.Float32 && !(distance.detach().min().item<float>() >= Resolved))
        {
            distance = Distances(rows.to(ScalarType.Float64));
        }

        return distance.add(epsilon).log().mean().neg().to(type).MoveToOuterDisposeScope();
    }

    /// <summary>(N): of each row, scaled to length 1, from its nearest neighbour.</summary>
    private static Tensor Distances(Tensor rows)
    {
        using Scalar nobody = Nobody.ToScalar(), epsilon = Epsilon.ToScalar();
        using var scope = NewDisposeScope();
        var unit = UnitRows.Of(rows, Epsilon);
        return unit.sub(unit.index_select(0, Neighbours(unit, nobody))).add_(epsilon).norm(1, p: 2).MoveToOuterDisposeScope();
    }

    /// <summary>(N) int64: the row of the largest cosine with each row, itself apart.</summary>
    private static Tensor Neighbours(Tensor unit, Scalar nobody)
    {
        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var cosines = MatrixProduct.Linear(unit, unit); // (N, N)
        cosines.diagonal().fill_(nobody);
        return cosines.argmax(1).MoveToOuterDisposeScope();
    }
}
