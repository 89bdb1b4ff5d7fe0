using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>Predictions of the next frame that need no learning, and how a model compares with them.</summary>
public static class FramePrediction
{
    /// <summary>Fewest frames that must be known: the straight line goes through two.</summary>
    public const int Known = 2;

    /// <summary>The last known frame once more.</summary>
    /// <param name="frames">(N, T, C, H, W), T at least 1.</param>
    /// <returns>(N, C, H, W); belongs to the receiver.</returns>
    /// <exception cref="ArgumentException">Another shape.</exception>
    public static Tensor Copied(Tensor frames)
    {
        Check(frames, 1);
        return frames.select(1, frames.size(1) - 1).clone();
    }

    /// <summary>Every pixel goes on as it changed: 2·x_T − x_{T−1}, cut to the range of a pixel.</summary>
    /// <param name="frames">(N, T, C, H, W) with values from 0 to 1, T at least 2.</param>
    /// <returns>(N, C, H, W); belongs to the receiver.</returns>
    /// <exception cref="ArgumentException">Another shape.</exception>
    public static Tensor Extrapolated(Tensor frames)
    {
        Check(frames, Known);
        using var scope = NewDisposeScope();
        var last = frames.size(1) - 1;
        return frames.select(1, last).mul(Scalars.Of(2)).sub(frames.select(1, last - 1)).clamp(Scalars.Of(0), Scalars.Of(1)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Errors on every clip of a store, without augmentation. The model is given nothing but the frames before the one it predicts, and what it
    /// predicts is cut to the range of a pixel, as a straight line's continuation is.
    /// </summary>
    /// <param name="clips">Film strips (<see cref="FrameStrip"/>).</param>
    /// <param name="normalisation">What the model's frames are normalised by.</param>
    /// <param name="next">The model: (N, t, C, H, W) float32, normalised, to the normalised frame (N, C, H, W) that follows.</param>
    /// <param name="known">Frames known before the first one that is predicted, from 2 to T − 1; T − 1 asks for the last frame alone.</param>
    /// <param name="batchSize">Clips in one pass.</param>
    /// <param name="device">Where the model lies.</param>
    /// <param name="stop">Stops between batches.</param>
    /// <returns>One entry for each predicted frame, in their order.</returns>
    /// <exception cref="ArgumentException">No clips, another number of channels, a number of known frames that leaves nothing, or a model with another output.</exception>
    public static IReadOnlyList<FrameErrors> Measure(
        ImageStore clips, ChannelNormalisation normalisation, Func<Tensor, Tensor> next, int known, int batchSize, Device device, CancellationToken stop)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        var (length, frame) = (FrameStrip.Frames(clips.Shape), FrameStrip.Frame(clips.Shape));
        if (known < Known || known >= length)
        {
            throw new ArgumentException($"Of clips of {length} frames, {Known} to {length - 1} can be known before the first prediction; received {known}.", nameof(known));
        }

        if (normalisation.Mean.Count != frame.Channels || normalisation.Std.Count != frame.Channels)
        {
            throw new ArgumentException(
                $"The normalisation has {normalisation.Mean.Count} means and {normalisation.Std.Count} deviations, but frames of '{clips.Name}' have {frame.Channels} channels.",
                nameof(normalisation));
        }

        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var std = from_array(normalisation.Std.ToArray()).reshape(frame.Channels, 1, 1).to(device);
        var mean = from_array(normalisation.Mean.ToArray()).reshape(frame.Channels, 1, 1).to(device);
        long[] size = [Math.Min(batchSize, clips.Count), length, frame.Height, frame.Width, frame.Channels];
        var bytes = zeros(size, ScalarType.Byte);
        var sums = new double[length, 3];
        for (var at = 0; at < clips.Count; at += batchSize)
        {
            stop.ThrowIfCancellationRequested();
            using var step = NewDisposeScope();
            var count = Math.Min(batchSize, clips.Count - at);
            var memory = bytes.bytes;
            for (var i = 0; i < count; i++)
            {
                clips.Pixels(at + i).CopyTo(memory.Slice(i * clips.Shape.Bytes, clips.Shape.Bytes));
            }

            var film = bytes.narrow(0, 0, count).to(device).to(ScalarType.Float32).div_(Scalars.Of(255)).permute(0, 1, 4, 2, 3); // (n, T, C, H, W)
            var normalised = film.sub(mean).div_(std);
            for (var t = known; t < length; t++)
            {
                var (before, truth) = (film.narrow(1, 0, t), film.select(1, t));
                var model = next(normalised.narrow(1, 0, t));
                if (!model.shape.AsSpan().SequenceEqual(truth.shape))
                {
                    throw new ArgumentException($"A prediction is ({string.Join(", ", truth.shape)}); the model gave ({string.Join(", ", model.shape)}).", nameof(next));
                }

                sums[t, 0] += Squares(model.mul(std).add_(mean).clamp_(Scalars.Of(0), Scalars.Of(1)), truth);
                sums[t, 1] += Squares(Copied(before), truth);
                sums[t, 2] += Squares(Extrapolated(before), truth);
            }
        }

        var values = (double)clips.Count * frame.Bytes;
        return [.. Enumerable.Range(known, length - known).Select(t => new FrameErrors(t, sums[t, 0] / values, sums[t, 1] / values, sums[t, 2] / values))];
    }

    private static double Squares(Tensor predicted, Tensor truth) => predicted.sub(truth).to(ScalarType.Float64).square().sum().item<double>();

    private static void Check(Tensor frames, int least)
    {
        if (frames.dim() != 5 || frames.size(1) < least)
        {
            throw new ArgumentException($"expected (N, T, C, H, W) with T ≥ {least}, received ({string.Join(", ", frames.shape)})", nameof(frames));
        }
    }
}
