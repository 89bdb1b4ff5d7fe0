using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="Dino"/>.</summary>
/// <param name="Head">Of student and teacher.</param>
/// <param name="StudentTemperature">τ_s.</param>
/// <param name="TeacherTemperatureStart">τ_t of the first step.</param>
/// <param name="TeacherTemperature">τ_t after its warm-up.</param>
/// <param name="TemperatureWarmup">Part of the training over which τ_t goes from the one to the other, 0 … 1.</param>
/// <param name="Centring">Whether the teacher's scores are centred.</param>
/// <param name="Sharpening">Whether the teacher has a temperature of its own; if not, it has the student's.</param>
/// <param name="CentreMomentum">Of the centre, 0 … 1.</param>
/// <param name="Momentum">Of the teacher's weights at a step.</param>
/// <param name="FreezeLast">Part of the training at whose start the prototypes get no gradient, 0 … 1.</param>
public sealed record DinoOptions(
    DinoHeadOptions Head,
    double StudentTemperature,
    double TeacherTemperatureStart,
    double TeacherTemperature,
    double TemperatureWarmup,
    bool Centring,
    bool Sharpening,
    double CentreMomentum,
    Func<StepContext, double> Momentum,
    double FreezeLast);

/// <summary>
/// DINO (Caron et al. 2021): the student sees all crops, the teacher, its moving average, only the large ones; the student predicts the teacher's
/// centred and sharpened distribution over prototypes for another crop (<see cref="DinoLoss"/>). Large crops pass an encoder together, small ones
/// together; one pass of the head serves all. The teacher is what is evaluated; it runs in training mode, so its batch-norm statistics are those of
/// its own passes over large crops.
/// </summary>
public sealed class Dino : ISslMethod<MultiCrop>
{
    private readonly DinoOptions options;
    private readonly Backbone student;
    private readonly DinoHead head, teacherHead;
    private readonly torch.Tensor? centre; // (1, K)
    private torch.Tensor? latest; // (1, K) mean of the teacher's scores, between the forward pass and the update

    /// <param name="encoder">The student; belongs to the method from here on.</param>
    /// <param name="options">Everything else.</param>
    /// <param name="device">Where the centre lives.</param>
    /// <exception cref="ArgumentException">Impossible options.</exception>
    public Dino(Backbone encoder, DinoOptions options, torch.Device device)
    {
        if (!(options.StudentTemperature > 0) || !(options.TeacherTemperatureStart > 0) || !(options.TeacherTemperature > 0)
            || options.TemperatureWarmup is not (>= 0 and <= 1) || options.CentreMomentum is not (>= 0 and <= 1) || options.FreezeLast is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"DINO needs positive temperatures, and momentum and fractions between 0 and 1; received {options}.", nameof(options));
        }

        this.options = options;
        student = encoder;
        head = new DinoHead(encoder.FeatureCount, options.Head);
        Encoder = encoder.Twin();
        teacherHead = new DinoHead(encoder.FeatureCount, options.Head);
        foreach (var parameter in Encoder.parameters().Concat(teacherHead.parameters()))
        {
            parameter.requires_grad = false;
        }

        Trained = [("encoder", student), ("head", head)];
        Teachers = [new MovingAverage("encoder", student, Encoder, options.Momentum), new MovingAverage("head", head, teacherHead, options.Momentum)];
        if (options.Centring)
        {
            centre = torch.zeros(1, options.Head.Prototypes, torch.float32, device).DetachFromDisposeScope();
            State = new Dictionary<string, torch.Tensor> { ["centre"] = centre };
        }
    }

    /// <summary>The teacher's encoder.</summary>
    public Backbone Encoder { get; }

    /// <summary>The teacher's head up to the vectors that are compared with prototypes.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => teacherHead.Bottleneck;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>
    /// Chance ln K, see <see cref="DinoLoss.Chance"/>. With centring, equal embeddings end there too: the centre becomes what the teacher says of
    /// all of them, and its distribution uniform. Without centring they may end anywhere down to 0, where all go to one prototype.
    /// </summary>
    public LossLevels Levels(int batchSize)
    {
        var chance = DinoLoss.Chance(options.Head.Prototypes);
        return new LossLevels(chance, options.Centring ? chance : null);
    }

    /// <summary>
    /// Loss; embedding = the student's vectors of the large crops before the prototypes (2N, b), of length 1; assignment = what the teacher says of
    /// them (2N, K).
    /// </summary>
    public StepOutput Forward(MultiCrop views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        torch.Tensor targets;
        using (torch.no_grad())
        {
            var t = teacherHead.call(Encoder.call(views.Globals)); // (2N, K)
            targets = DinoLoss.Targets(t, centre, TemperatureAt(context)); // (2N, K)
            if (centre is not null)
            {
                latest?.Dispose();
                latest = t.mean([0L], keepdim: true).DetachFromDisposeScope();
            }
        }

        var unit = head.Unit(CropFeatures.Of(student, views)); // (V·N, b)
        var scores = head.Scores(unit, context.IsWithin(options.FreezeLast)); // (V·N, K)
        var loss = DinoLoss.Loss(scores, targets, views.CropCount, options.StudentTemperature);
        var embedding = unit.narrow(0, 0, DinoLoss.TeacherCrops * views.Count).detach();
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope(), targets.MoveToOuterDisposeScope());
    }

    /// <summary>Moves the centre.</summary>
    public void AfterUpdate(in StepContext context)
    {
        if (centre is null || latest is null)
        {
            return;
        }

        DinoLoss.MoveCentre(centre, latest, options.CentreMomentum);
        latest.Dispose();
        latest = null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        latest?.Dispose();
        centre?.Dispose();
        teacherHead.Dispose();
        Encoder.Dispose();
        head.Dispose();
        student.Dispose();
    }

    private double TemperatureAt(in StepContext context)
    {
        var warmup = (long)Math.Round(options.TemperatureWarmup * context.TotalSteps, MidpointRounding.AwayFromZero);
        return options.Sharpening
            ? DinoLoss.TeacherTemperature(options.TeacherTemperatureStart, options.TeacherTemperature, warmup, context.Step)
            : options.StudentTemperature;
    }
}
