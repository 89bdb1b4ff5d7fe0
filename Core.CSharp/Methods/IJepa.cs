using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="IJepa"/>.</summary>
/// <param name="Predictor">The transformer that predicts.</param>
/// <param name="Distance">Of predictions to targets.</param>
/// <param name="NormaliseTargets">Whether each target token gets mean 0 and variance 1 over its features.</param>
/// <param name="StartMomentum">Of the target encoder's weights at the first step, 0 … 1.</param>
/// <param name="FinalMomentum">The same at the end; between them a straight line.</param>
public sealed record IJepaOptions(
    JepaPredictorOptions Predictor, JepaDistance Distance, bool NormaliseTargets, double StartMomentum, double FinalMomentum);

/// <summary>
/// I-JEPA (Assran et al. 2023): the context encoder sees the context's patches alone; from its tokens a predictor says, block by block, what the target
/// encoder, the moving average of the context encoder, makes of hidden patches of the whole image. Nothing is predicted in pixels.
/// </summary>
/// <remarks>
/// The authors' transformers have no CLS token. Ours keep CLS and registers as tokens that patches attend to; neither predictor nor loss takes them, so
/// they are trained by what they give to patches. What is evaluated is the target encoder with the mean of its patch tokens as h, whatever pooling the
/// given encoder has. It runs in evaluation mode: without stochastic depth.
/// </remarks>
public sealed class IJepa : ISslMethod<ContextTargets>
{
    private readonly IJepaOptions options;
    private readonly VisionTransformer student, teacher;
    private readonly JepaPredictor predictor;

    /// <param name="encoder">The context encoder, a <see cref="VisionTransformer"/>; belongs to the method from here on.</param>
    /// <param name="options">Everything else.</param>
    /// <exception cref="ArgumentException">Another encoder, which could not leave out patches, or an impossible option.</exception>
    public IJepa(Backbone encoder, IJepaOptions options)
    {
        if (encoder is not VisionTransformer vit)
        {
            throw new ArgumentException($"I-JEPA shows its encoder a part of the patches, which only a vision transformer takes; received {encoder.GetType().Name}.", nameof(encoder));
        }

        MethodOptions.Fraction(options.StartMomentum, "momentum at the start");
        MethodOptions.Fraction(options.FinalMomentum, "final momentum");
        this.options = options;
        student = vit;
        var (size, patch) = (vit.Options.ImageSize, vit.Options.Patch);
        predictor = new JepaPredictor(vit.FeatureCount, (size.Height / patch, size.Width / patch), options.Predictor);
        teacher = new VisionTransformer(vit.Options with { Pool = TokenPool.Mean });
        teacher.eval();
        foreach (var parameter in teacher.parameters())
        {
            parameter.requires_grad = false;
        }

        Trained = [("encoder", student), ("predictor", predictor)];
        Teachers = [new MovingAverage("encoder", student, teacher, Momentum)];
    }

    /// <summary>The target encoder.</summary>
    public Backbone Encoder => teacher;

    /// <summary>None: the predictor maps tokens of other patches, not an image's features.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>Chance as <see cref="JepaLoss.Chance"/> has it. Where all tokens are equal they can be predicted exactly: 0.</summary>
    public LossLevels Levels(int batchSize) => new(JepaLoss.Chance(options.Distance, options.NormaliseTargets), 0);

    /// <summary>Loss; embedding = h of the target encoder (N, d).</summary>
    /// <exception cref="ArgumentException">The views' indices are of another grid than the encoder's.</exception>
    public StepOutput Forward(ContextTargets views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var grid = Grid(views);
        torch.Tensor targets, h;
        using (torch.no_grad())
        {
            var tokens = teacher.Patches(teacher.Tokens(views.Images)); // (N, P, d)
            h = tokens.mean([1L]);
            tokens = TokenRows.Take(tokens, views.Targets); // (N, M·Kt, d)
            targets = options.NormaliseTargets ? JepaLoss.Normalised(tokens) : tokens;
        }

        var shown = TokenRows.Take(student.Embed(views.Images), views.Context); // (N, Kc, d)
        var encoded = student.Patches(student.Norm(student.Blocks(student.Sequence(shown)))); // (N, Kc, d)
        var predicted = predictor.Predict(encoded, views.Context, views.Targets, views.Blocks, grid); // (N, M·Kt, d)
        var loss = JepaLoss.Loss(predicted, targets, options.Distance);
        return new StepOutput(loss.MoveToOuterDisposeScope(), h.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        predictor.Dispose();
        teacher.Dispose();
        student.Dispose();
    }

    private (int Rows, int Columns) Grid(ContextTargets views)
    {
        var patch = student.Options.Patch;
        var (height, width) = (views.Images.size(2), views.Images.size(3));
        var grid = ((int)height / patch, (int)width / patch);
        return grid.Item1 * grid.Item2 == views.Patches
            ? grid
            : throw new ArgumentException(
                $"the views' indices count {views.Patches} patches, but patches of {patch} pixels make {grid.Item1}x{grid.Item2} of views of {height}x{width}: "
                + "give augmentation and encoder the same patch",
                nameof(views));
    }

    private double Momentum(StepContext context) =>
        options.StartMomentum + ((options.FinalMomentum - options.StartMomentum) * context.Step / Math.Max(1, context.TotalSteps));
}
