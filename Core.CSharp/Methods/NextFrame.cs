using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>
/// Next-frame prediction: the encoder's feature map of each known frame, a model of time at each of its positions, and a decoder that turns the
/// state after frame t into frame t + 1. The one way from the frames before the last to the prediction is the encoder; a decoder that starts from
/// the last known frame has that frame, but not how it moves, without it.
/// </summary>
/// <remarks>
/// A prediction depends on no later frame: the time model is causal, and frames meet nowhere else. In training, batch normalisation sees all known
/// frames of a batch at once, as it sees all images of one.
/// </remarks>
public sealed class NextFrame : ISslMethod<Clip>, IPictured<Clip>
{
    /// <summary>Frames that must be known where several are predicted: one does not show how it moves.</summary>
    public const int Known = 2;

    private readonly NextFrameOptions options;
    private readonly TimeModel time;
    private readonly ColourDecoder decoder;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Time model, decoder, loss.</param>
    /// <param name="channels">Channels of a frame.</param>
    /// <exception cref="ArgumentException">A value out of range.</exception>
    public NextFrame(Backbone encoder, NextFrameOptions options, int channels)
    {
        var outputs = options.Output switch
        {
            FrameMotion { Reach: >= 1 } motion => MovedPixels.Window(motion.Reach),
            FrameMotion motion => throw new ArgumentException($"The reach of a pixel must be at least 1; received {motion.Reach}.", nameof(options)),
            WholeFrame or FrameResidual => channels,
            _ => throw new ArgumentException($"Unknown output {options.Output.GetType().Name}.", nameof(options)),
        };
        this.options = options;
        Encoder = encoder;
        time = TimeModel.Create(encoder.FeatureCount, options.Time);
        decoder = new ColourDecoder(time.FeatureCount, options.Decoder, outputs);
        Trained = [("encoder", encoder), ("time", time), ("decoder", decoder)];
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <summary>None: the decoder makes frames, not an embedding.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>None: what a prediction without information costs depends on the films.</summary>
    public LossLevels Levels(int batchSize) => new(null, null);

    /// <summary>Loss; embedding = the encoder's features of every known frame, (N·(T−1), d), pooled over positions.</summary>
    /// <exception cref="ArgumentException">Clips of fewer than three frames, or a decoder that misses the frames' size.</exception>
    public StepOutput Forward(Clip views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var frames = views.Frames; // (N, T, C, H, W)
        var (n, known) = (Aten.Sizes(frames)[0], Aten.Sizes(frames)[1] - 1);
        if (known < Known)
        {
            throw new ArgumentException($"A clip needs at least {Known + 1} frames: {Known} that show how it moves and one to predict; received {known + 1}.", nameof(views));
        }

        var first = options.EveryFrame ? Known - 1 : known - 1; // the last frame that the first prediction knows
        var count = known - first;
        var map = Map(frames.narrow(1, 0, known)); // (N·(T−1), d, h, w)
        var predicted = Decode(States(map, n, first, count), frames.narrow(1, first, count)); // (N, K, C, H, W)
        var truth = frames.narrow(1, first + 1, count);
        var loss = options.Error == FrameError.Squared ? FrameLoss.Squared(predicted, truth) : FrameLoss.Absolute(predicted, truth);
        return new StepOutput(loss.MoveToOuterDisposeScope(), map.detach().mean([2, 3]).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <summary>
    /// The frame that follows. Networks are in evaluation mode meanwhile and as they were afterwards; without gradient.
    /// </summary>
    /// <param name="frames">(N, T, C, H, W) float32, normalised: all that is known, at least one frame.</param>
    /// <returns>(N, C, H, W), normalised; belongs to the receiver.</returns>
    public torch.Tensor Next(torch.Tensor frames)
    {
        if (Aten.Sizes(frames) is not [var n, > 0 and var known, _, _, _])
        {
            throw new ArgumentException($"expected (N, T, C, H, W) with T ≥ 1, received ({string.Join(", ", frames.shape)})", nameof(frames));
        }

        using var frozen = new FrozenPass(Trained.Select(t => t.Module));
        using var scope = torch.NewDisposeScope();
        var last = known - 1;
        return Decode(States(Map(frames), n, last, 1), frames.narrow(1, last, 1)).select(1, 0).MoveToOuterDisposeScope();
    }

    /// <summary>The known frames, the one that follows, and what was predicted.</summary>
    public MethodPicture Picture(Clip views, in StepContext context)
    {
        using var frozen = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var known = views.Length - 1;
        var predicted = Next(views.Frames.narrow(1, 0, known));
        var images = torch.cat([views.Frames, predicted.unsqueeze(1)], 1); // (N, T + 1, C, H, W)
        if (Aten.Sizes(images)[2] == 1)
        {
            images = images.expand(-1, -1, 3, -1, -1).contiguous();
        }

        return new MethodPicture(
            [.. Enumerable.Range(1, known).Select(t => $"frame {t}"), $"frame {known + 1}, true", $"frame {known + 1}, predicted"],
            images.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        decoder.Dispose();
        time.Dispose();
        Encoder.Dispose();
    }

    /// <summary>(N, T, C, H, W) to the feature maps (N·T, d, h, w).</summary>
    private torch.Tensor Map(torch.Tensor frames)
    {
        using var images = frames.flatten(0, 1);
        return Encoder.Map(images);
    }

    /// <summary>
    /// Maps (N·T, d, h, w) to the states after <paramref name="count"/> frames from <paramref name="first"/> on, (N·count, w', h, w) with channels
    /// innermost in memory.
    /// </summary>
    private torch.Tensor States(torch.Tensor map, long n, long first, long count)
    {
        using var scope = torch.NewDisposeScope();
        var sizes = Aten.Sizes(map);
        var (steps, width, rows, columns) = (sizes[0] / n, sizes[1], sizes[2], sizes[3]);
        var positions = rows * columns;
        var series = map.permute(0, 2, 3, 1).reshape(n, steps, positions, width).transpose(1, 2).reshape(n * positions, steps, width);
        return time.call(series) // (N·P, T, w')
            .narrow(1, first, count)
            .reshape(n, positions, count, time.FeatureCount)
            .transpose(1, 2)
            .reshape(n * count, rows, columns, time.FeatureCount)
            .permute(0, 3, 1, 2)
            .MoveToOuterDisposeScope();
    }

    /// <summary>States (N·K, w', h, w) and the frames (N, K, C, H, W) that each of them knows last, to the frames that follow these.</summary>
    private torch.Tensor Decode(torch.Tensor states, torch.Tensor last)
    {
        using var scope = torch.NewDisposeScope();
        var values = decoder.call(states); // (N·K, H, W, C or window)
        var made = Aten.Sizes(values);
        var sizes = Aten.Sizes(last);
        if (made[1] != sizes[3] || made[2] != sizes[4])
        {
            var map = Aten.Sizes(states);
            throw new ArgumentException(
                $"The decoder makes {made[1]}x{made[2]} of the encoder's {map[2]}x{map[3]}, but frames are {sizes[3]}x{sizes[4]}: every width of Decoder doubles the size; give more or fewer.");
        }

        var before = last.flatten(0, 1); // (N·K, C, H, W)
        var frames = options.Output switch
        {
            FrameMotion motion => MovedPixels.Apply(values, before, motion.Reach),
            FrameResidual => values.permute(0, 3, 1, 2).add(before),
            _ => values.permute(0, 3, 1, 2),
        };
        return frames.reshape(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]).MoveToOuterDisposeScope();
    }
}
