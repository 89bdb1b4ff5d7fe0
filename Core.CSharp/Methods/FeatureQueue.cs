using SslResearch.Core.Losses;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Methods;

/// <summary>
/// The last K vectors of earlier steps, first in, first out: a ring buffer for any K and any number of rows at a time. Position and rows are
/// tensors changed in place and on the device, so they can stand in a checkpoint and no step waits for a value.
/// </summary>
public sealed class FeatureQueue : IDisposable
{
    // Lane of the generator; a method's own draws of a step use others.
    private const ushort Lane = 1;

    /// <summary>A queue that begins with given rows, the first of them to be overwritten first.</summary>
    /// <param name="rows">(K, d), K ≥ 1, rows of unit length; copied.</param>
    /// <exception cref="ArgumentException">Not (K, d).</exception>
    public FeatureQueue(Tensor rows)
    {
        if (rows.shape is not [> 0, > 0])
        {
            throw new ArgumentException($"expected (K, d) with K ≥ 1, received ({string.Join(", ", rows.shape)})", nameof(rows));
        }

        Rows = rows.detach().clone().DetachFromDisposeScope();
        Position = zeros([], ScalarType.Int64, rows.device).DetachFromDisposeScope();
    }

    /// <summary>(K, d): what the loss reads.</summary>
    public Tensor Rows { get; }

    /// <summary>Scalar int64, 0 … K−1: the row that is overwritten next.</summary>
    public Tensor Position { get; }

    /// <summary>K.</summary>
    public int Size => (int)Rows.shape[0];

    /// <summary>A queue that begins with unit vectors of uniformly random direction, a function of the seed alone.</summary>
    /// <param name="size">K ≥ 1.</param>
    /// <param name="width">d ≥ 1.</param>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="device">Where it lies.</param>
    /// <returns>float32.</returns>
    /// <exception cref="ArgumentException">A size below 1.</exception>
    public static FeatureQueue Random(int size, int width, ulong seed, Device device)
    {
        if (size < 1 || width < 1)
        {
            throw new ArgumentException($"A queue holds at least one vector of at least one element; received {size} of {width}.", nameof(size));
        }

        var values = new float[(long)size * width];
        Parallel.For(0, size, row =>
        {
            var random = new Philox(seed, RandomPurpose.Method, (uint)row, 0, Lane);
            var target = values.AsSpan(row * width, width);
            var squares = 0.0;
            foreach (ref var x in target)
            {
                x = (float)random.NextGaussian();
                squares += (double)x * x;
            }

            foreach (ref var x in target)
            {
                x = (float)(x / Math.Sqrt(squares));
            }
        });

        using var scope = NewDisposeScope();
        return new FeatureQueue(from_array(values).reshape(size, width).to(device));
    }

    /// <summary>Adds rows in their order in place of the oldest; of more than K only the last K stay.</summary>
    /// <param name="rows">(M, d), M ≥ 1, rows of unit length, of the queue's dtype and device.</param>
    /// <exception cref="ArgumentException">Another width.</exception>
    public void Enqueue(Tensor rows)
    {
        Check(rows);
        var count = rows.shape[0];
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var skipped = Math.Max(0, count - Size);
        var places = arange(Scalars.Of(skipped), Scalars.Of(count), dtype: ScalarType.Int64, device: Rows.device).add_(Position).remainder_(Scalars.Of(Size));
        Rows.index_copy_(0, places, rows.detach().narrow(0, skipped, count - skipped));
        Position.add_(Scalars.Of(count)).remainder_(Scalars.Of(Size));
    }

    /// <summary>For each row the vector of the queue with the greatest inner product; of equals, one of them.</summary>
    /// <param name="rows">(M, d), rows of unit length.</param>
    /// <returns>(M, d), without gradient.</returns>
    /// <exception cref="ArgumentException">Another width.</exception>
    public Tensor Nearest(Tensor rows)
    {
        Check(rows);
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var nearest = QueueKernels.Serves(rows, Rows) ? QueueKernels.Nearest(rows, Rows) : rows.detach().matmul(Rows.t()).argmax(1);
        return Rows.index_select(0, nearest).MoveToOuterDisposeScope();
    }

    /// <summary>Its tensors by name, as <see cref="ISslMethod{TViews}.State"/> takes them.</summary>
    public IReadOnlyDictionary<string, Tensor> State => new Dictionary<string, Tensor>
    {
        ["queue"] = Rows,
        ["queue_position"] = Position,
    };

    /// <summary>Frees both tensors.</summary>
    public void Dispose()
    {
        Rows.Dispose();
        Position.Dispose();
    }

    private void Check(Tensor rows)
    {
        if (rows.shape is not [> 0, var width] || width != Rows.shape[1])
        {
            throw new ArgumentException($"expected (M, {Rows.shape[1]}), received ({string.Join(", ", rows.shape)})", nameof(rows));
        }
    }
}
