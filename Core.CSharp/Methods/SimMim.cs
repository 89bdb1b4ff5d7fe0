using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>
/// SimMIM (Xie et al. 2022): the encoder sees all positions, those of hidden patches replaced by something learned, and one linear layer on its
/// features predicts the hidden pixels, by mean absolute (or squared) error. The encoder decides what is replaced: of a vision transformer the
/// tokens, after the projection and before positions are added; of a residual network the pixels, by one colour.
/// </summary>
/// <remarks>A transformer's CLS is in no prediction, but other tokens attend to it: it gets its gradient there.</remarks>
public sealed class SimMim : ISslMethod<MaskedView>, IPictured<MaskedView>
{
    private readonly Backbone encoder;
    private readonly PixelHead head;
    private readonly int side; // pixels of a position of the encoder's map
    private readonly bool squaredError;

    /// <param name="encoder">The network to train, a vision transformer or a residual network; belongs to the method from here on.</param>
    /// <param name="squaredError">Whether the errors of pixels are squared; else their absolute values are taken.</param>
    /// <exception cref="ArgumentException">Another network.</exception>
    public SimMim(Backbone encoder, bool squaredError)
    {
        this.encoder = encoder;
        this.squaredError = squaredError;
        (side, var channels, var standIn) = encoder switch
        {
            VisionTransformer vit => (vit.Options.Patch, vit.Options.Channels, (long[])[1, 1, vit.Options.Width]),
            ResNet net => (Stride(net.Options), net.Options.Channels, [1, net.Options.Channels, 1, 1]),
            _ => throw new ArgumentException($"SimMIM replaces patches in a vision transformer or a residual network; received {encoder.GetType().Name}.", nameof(encoder)),
        };
        head = new PixelHead(encoder.FeatureCount, side * side * channels, standIn);
        Trained = [("encoder", encoder), ("head", head)];
    }

    /// <inheritdoc/>
    public Backbone Encoder => encoder;

    /// <summary>None: the head makes pixels, not an embedding.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>None: they depend on the images.</summary>
    public LossLevels Levels(int batchSize) => new(null, null);

    /// <summary>Loss over hidden pixels; embedding = the mean of the encoder's features over all positions (N, d).</summary>
    public StepOutput Forward(MaskedView views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var grid = Grid(views);
        var features = Features(views, grid); // (N, h·w, d)
        var hidden = TokenRows.Take(MaskedPatchLoss.Patchify(views.Images, grid.Side), views.HiddenIndices());
        var predicted = Predict(features, views, grid);
        var loss = squaredError ? MaskedPatchLoss.MeanSquare(predicted, hidden) : MaskedPatchLoss.MeanAbsolute(predicted, hidden);
        return new StepOutput(loss.MoveToOuterDisposeScope(), features.detach().mean([1L]).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <summary>input | masked | reconstruction; visible patches are the input's own.</summary>
    public MethodPicture Picture(MaskedView views, in StepContext context)
    {
        using var frozen = new FrozenPass(encoder, head);
        using var scope = torch.NewDisposeScope();
        var grid = Grid(views);
        var picture = HiddenPatches.Picture(views, Predict(Features(views, grid), views, grid));
        return picture with { Images = picture.Images.MoveToOuterDisposeScope() };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        head.Dispose();
        encoder.Dispose();
    }

    private static int Stride(ResNetOptions options) => (options.Stem switch { Stem.Imagenet => 4, Stem.CifarStride2 => 2, _ => 1 }) << (options.Blocks.Count - 1);

    /// <summary>(N, h·w, d): what the encoder says of each of its positions, hidden patches replaced.</summary>
    private torch.Tensor Features(MaskedView views, (int Side, int Rows, int Columns) grid)
    {
        if (encoder is VisionTransformer vit)
        {
            var tokens = vit.Project(views.Images);
            var hidden = HiddenPatches.Mask(views, (grid.Rows, grid.Columns), grid.Side / side).view(tokens.size(0), tokens.size(1), 1);
            return vit.Patches(vit.Norm(vit.Blocks(vit.Sequence(head.Replace(tokens, hidden).add(vit.Positions(views.Images))))));
        }

        var pixels = HiddenPatches.Mask(views, (grid.Rows, grid.Columns), grid.Side).unsqueeze(1); // (N, 1, H, W)
        return encoder.Map(head.Replace(views.Images, pixels)).flatten(2).transpose(1, 2);
    }

    /// <summary>(N, hidden, p·p·C), in the order of the mask.</summary>
    private torch.Tensor Predict(torch.Tensor features, MaskedView views, (int Side, int Rows, int Columns) grid)
    {
        if (grid.Side == side)
        {
            return head.call(TokenRows.Take(features, views.HiddenIndices()));
        }

        var (height, width) = (grid.Rows * grid.Side / side, grid.Columns * grid.Side / side);
        var image = MaskedPatchLoss.Unpatchify(head.call(features), side, height, width); // (N, C, H, W)
        return TokenRows.Take(MaskedPatchLoss.Patchify(image, grid.Side), views.HiddenIndices());
    }

    private (int Side, int Rows, int Columns) Grid(MaskedView views)
    {
        var grid = HiddenPatches.Grid(views);
        if (encoder is VisionTransformer && grid.Side % side != 0)
        {
            throw new ArgumentException($"The masks hide patches of {grid.Side} pixels, no multiple of the encoder's {side}: give masks of its patch, or of several together.", nameof(views));
        }

        return grid.Rows * grid.Side % side == 0 && grid.Columns * grid.Side % side == 0
            ? grid
            : throw new ArgumentException(
                $"The encoder has one position for {side}×{side} pixels, which do not cover views of {grid.Rows * grid.Side}×{grid.Columns * grid.Side}: give views of another size, or an encoder of a smaller stride.",
                nameof(views));
    }
}
