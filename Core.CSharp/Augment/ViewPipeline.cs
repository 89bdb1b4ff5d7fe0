using SslResearch.Core.Data;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// A compiled list of operations from a stored image (H, W, C) uint8 to a view (C, h, w) float32, normalised. Thread-safe.
/// Values stay unrounded floats between operations; what bicubic resampling overshoots is cut to the range of a pixel, as any image file does.
/// </summary>
public sealed class ViewPipeline
{
    private readonly ViewOp[] ops;
    private readonly float[] scaleBias;
    private readonly WorkspaceNeed need;

    /// <summary>Checks the operations and the sizes between them.</summary>
    /// <param name="source">Size of the stored images; one or three channels.</param>
    /// <param name="ops">In order; at most <see cref="ViewParameters.Capacity"/>.</param>
    /// <param name="normalisation">One mean and std per channel.</param>
    /// <exception cref="ArgumentException">An operation is wrong in itself or does not fit the image; all problems in one message.</exception>
    public ViewPipeline(ImageShape source, IReadOnlyList<ViewOp> ops, ChannelNormalisation normalisation)
    {
        ArgumentNullException.ThrowIfNull(ops);
        ArgumentNullException.ThrowIfNull(normalisation);
        var problems = Problems(source, ops, normalisation);
        if (problems.Count > 0)
        {
            throw new ArgumentException($"This view cannot be rendered: {string.Join("; ", problems)}.", nameof(ops));
        }

        Source = source;
        Normalisation = normalisation;
        this.ops = [.. ops];
        (need, Output) = Plan(source, ops);
        scaleBias = [.. Enumerable.Range(0, source.Channels).SelectMany<int, float>(c =>
            [1 / (255 * normalisation.Std[c]), -normalisation.Mean[c] / normalisation.Std[c]])];
    }

    /// <summary>Size of the stored images.</summary>
    public ImageShape Source { get; }

    /// <summary>Size of the views; their memory order is (C, h, w).</summary>
    public ImageShape Output { get; }

    /// <summary>The operations, in order.</summary>
    public IReadOnlyList<ViewOp> Ops => ops;

    /// <summary>Applied last.</summary>
    public ChannelNormalisation Normalisation { get; }

    /// <summary>Floats in one view.</summary>
    public int OutputFloats => Output.Bytes;

    /// <summary>The twins without SIMD; for tests.</summary>
    internal bool Scalar { get; init; }

    /// <summary>Keeps what bicubic resampling overshoots; for tests.</summary>
    internal bool KeepsOvershoot { get; init; }

    /// <summary>Everything wrong with a pipeline, one sentence each.</summary>
    public static IReadOnlyList<string> Problems(ImageShape source, IReadOnlyList<ViewOp> ops, ChannelNormalisation normalisation)
    {
        ArgumentNullException.ThrowIfNull(ops);
        ArgumentNullException.ThrowIfNull(normalisation);
        var problems = ops.SelectMany(op => op.Problems()).ToList();
        if (source.Channels is not (1 or 3) || source.Height < 1 || source.Width < 1)
        {
            problems.Add($"images of {source} have not one or three channels");
        }

        if (ops.Count > ViewParameters.Capacity)
        {
            problems.Add($"{ops.Count} operations are more than {ViewParameters.Capacity}");
        }

        if (normalisation.Mean.Count != source.Channels || normalisation.Std.Count != source.Channels)
        {
            problems.Add($"normalisation of {normalisation.Mean.Count} means and {normalisation.Std.Count} stds for {source.Channels} channels");
        }

        if (!normalisation.Std.All(s => s > 0 && float.IsFinite(s)) || !normalisation.Mean.All(float.IsFinite))
        {
            problems.Add("normalisation needs finite means and stds above 0");
        }

        var (h, w) = (source.Height, source.Width);
        foreach (var op in ops)
        {
            if (op is Rotate90 && h != w)
            {
                problems.Add($"Rotate90 needs a square image and gets {h}x{w}");
            }

            if (op is KernelBlur blur && blur.Size / 2 >= Math.Min(h, w))
            {
                problems.Add($"KernelBlur of size {blur.Size} does not fit an image of {h}x{w}");
            }

            (h, w) = op.OutputSize(h, w);
        }

        return problems;
    }

    /// <summary>The parameters of one view: a pure function of the position.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Epoch, from 0.</param>
    /// <param name="index">Position of the image in its dataset.</param>
    /// <param name="view">Which view of the image, 0 to 255.</param>
    public ViewParameters Draw(ulong seed, int epoch, long index, int view)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)view, 255u, nameof(view));
        var parameters = new ViewParameters { Count = ops.Length };
        var (h, w) = (Source.Height, Source.Width);
        for (var i = 0; i < ops.Length; i++)
        {
            var random = new Philox(seed, RandomPurpose.Augmentation, (uint)epoch, checked((uint)index), (ushort)((view << 8) | i));
            parameters[i] = ops[i].Draw(ref random, h, w);
            (h, w) = ops[i].OutputSize(h, w);
        }

        return parameters;
    }

    /// <summary>What was done, operation by operation, for people: operations that were left out are left out.</summary>
    public IReadOnlyList<string> Describe(in ViewParameters parameters)
    {
        var lines = new List<string>();
        for (var i = 0; i < ops.Length; i++)
        {
            var draw = parameters[i];
            if (draw.Applied)
            {
                lines.Add(ops[i].Describe(draw));
            }
        }

        return lines;
    }

    /// <summary>Renders one view. Allocates nothing after a thread's first call.</summary>
    /// <param name="pixels">(H, W, C) uint8.</param>
    /// <param name="parameters">From <see cref="Draw"/>, or chosen by hand.</param>
    /// <param name="view">(C, h, w) float32, filled.</param>
    public void Render(ReadOnlySpan<byte> pixels, in ViewParameters parameters, Span<float> view)
    {
        if (pixels.Length != Source.Bytes)
        {
            throw new ArgumentException($"expected {Source.Bytes} bytes ({Source}), received {pixels.Length}", nameof(pixels));
        }

        if (view.Length != OutputFloats)
        {
            throw new ArgumentException($"expected {OutputFloats} floats, received {view.Length}", nameof(view));
        }

        if (parameters.Count != ops.Length)
        {
            throw new ArgumentException($"expected {ops.Length} operations, received {parameters.Count}", nameof(parameters));
        }

        var workspace = Workspace.For(need);
        new ViewRenderer(workspace, Source.Channels, Scalar, KeepsOvershoot).Run(pixels, Source, ops, parameters, scaleBias, view);
    }

    private static (WorkspaceNeed Need, ImageShape Output) Plan(ImageShape source, IReadOnlyList<ViewOp> ops)
    {
        var need = default(WorkspaceNeed);
        var (h, w) = (source.Height, source.Width);
        need.Resample(source.Channels, h, w, h, w, Interpolation.Bilinear);
        foreach (var op in ops)
        {
            if (op is ResizedCrop crop)
            {
                need.Resample(source.Channels, h, w, crop.Height, crop.Width, crop.Mode);
            }

            (h, w) = op.OutputSize(h, w);
            need.Resample(source.Channels, h, w, h, w, Interpolation.Bilinear);
        }

        return (need, new ImageShape(h, w, source.Channels));
    }
}
