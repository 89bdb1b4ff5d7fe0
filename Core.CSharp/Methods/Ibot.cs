using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>
/// iBOT (Zhou et al. 2022) and DINOv2 (Oquab et al. 2023): DINO, and beside it the same on patches. The student sees large crops with patches
/// replaced by a learned vector, and small crops; the teacher, its moving average, sees the large crops whole. The student's feature of every crop
/// predicts the teacher's of every other large one (<see cref="DinoLoss"/>); its tokens at hidden patches predict the teacher's tokens of the same
/// patches of the same crop (<see cref="IbotLoss"/>); DINOv2 spreads the student's features of each large crop over the batch (<see cref="KoLeoLoss"/>).
/// One pass each for the student's large crops (masked and not), its small ones, and the teacher's. Patch heads see the patches that may be hidden,
/// <see cref="MaskedCrops.Most"/> of each crop, and no others. The teacher is what is evaluated; its encoder runs without stochastic depth.
/// </summary>
public sealed class Ibot : ISslMethod<MaskedCrops>
{
    private readonly IbotOptions options;
    private readonly VisionTransformer student, teacher;
    private readonly MaskToken token;
    private readonly DinoHead head, teacherHead;
    private readonly DinoHead? patchHead, teacherPatchHead; // null: the heads above serve patches too
    private readonly torch.Tensor? centre, patchCentre; // (1, K)
    private torch.Tensor? latest, latestPatch; // (1, K) means of the teacher's scores, between the forward pass and the update

    /// <param name="encoder">The student, a <see cref="VisionTransformer"/>; belongs to the method from here on.</param>
    /// <param name="options">Everything else.</param>
    /// <param name="device">Where the centres live.</param>
    /// <exception cref="ArgumentException">Another encoder, or impossible options.</exception>
    public Ibot(Backbone encoder, IbotOptions options, torch.Device device)
    {
        Check(options);
        student = encoder as VisionTransformer ?? throw new ArgumentException(
            $"iBOT and DINOv2 hide patches from their encoder, which takes a vision transformer; received a {encoder.GetName()}.", nameof(encoder));
        this.options = options;
        teacher = (VisionTransformer)encoder.Twin();
        token = new MaskToken(encoder.FeatureCount);
        head = new DinoHead(encoder.FeatureCount, options.Head);
        teacherHead = new DinoHead(encoder.FeatureCount, options.Head);
        List<(string, torch.nn.Module)> trained = [("encoder", student), ("mask", token), ("head", head)];
        List<MovingAverage> teachers = [new("encoder", student, teacher, options.Momentum), new("head", head, teacherHead, options.Momentum)];
        if (options.PatchHead is { } own)
        {
            patchHead = new DinoHead(encoder.FeatureCount, own);
            teacherPatchHead = new DinoHead(encoder.FeatureCount, own);
            trained.Add(("patch_head", patchHead));
            teachers.Add(new("patch_head", patchHead, teacherPatchHead, options.Momentum));
        }

        foreach (var parameter in teachers.SelectMany(t => t.Teacher.parameters()))
        {
            parameter.requires_grad = false;
        }

        teacher.eval();
        (Trained, Teachers) = (trained, teachers);
        if (options.Centring is MovingCentre)
        {
            centre = torch.zeros(1, options.Head.Prototypes, torch.float32, device).DetachFromDisposeScope();
            patchCentre = torch.zeros(1, PatchPrototypes, torch.float32, device).DetachFromDisposeScope();
            State = new Dictionary<string, torch.Tensor> { ["centre"] = centre, ["patch_centre"] = patchCentre };
        }
    }

    /// <summary>The teacher's encoder.</summary>
    public Backbone Encoder => teacher;

    /// <summary>The teacher's head for whole crops, up to the vectors that are compared with prototypes.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => teacherHead.Bottleneck;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    private int PatchPrototypes => (options.PatchHead ?? options.Head).Prototypes;

    /// <summary>
    /// Chance: the weighted sum of both ln K, which equal embeddings cost too, since the teacher's distributions of equal scores become uniform;
    /// without a centre that moves they may end anywhere below. Null with <see cref="PatchMean.Crops"/>, whose value falls with the share of crops that
    /// hide patches, and with KoLeo, which has no such level.
    /// </summary>
    public LossLevels Levels(int batchSize)
    {
        if (options.KoLeoWeight > 0 || (options.PatchWeight > 0 && options.PatchMean == PatchMean.Crops))
        {
            return new LossLevels(null, null);
        }

        var chance = (options.ClsWeight * DinoLoss.Chance(options.Head.Prototypes)) + (options.PatchWeight * IbotLoss.Chance(PatchPrototypes));
        return new LossLevels(chance, options.Centring is MovingCentre { Momentum: 1 } ? null : chance);
    }

    /// <summary>
    /// Loss; embedding = the student's vectors of the large crops before the prototypes (2N, b), of length 1; assignment = what the teacher says of
    /// those crops (2N, K).
    /// </summary>
    /// <exception cref="ArgumentException">Masks for another number of patches than the encoder makes, or a batch without neighbours for KoLeo.</exception>
    public StepOutput Forward(MaskedCrops views, in StepContext context)
    {
        Check(views);
        using Scalar clsWeight = options.ClsWeight.ToScalar(), patchWeight = options.PatchWeight.ToScalar();
        using var scope = torch.NewDisposeScope();
        var (mask, place) = views.Masks.topk(views.Most, 1); // (2N, M): the hidden patches, then others of weight 0
        var (targets, patchTargets) = Taught(views, mask, place, context);
        var frozen = context.IsWithin(options.FreezeLast);

        var tokens = Masked(views); // (2N, T, d)
        var features = Pooled(tokens); // (2N, d)
        var all = views.Locals is null ? features : torch.cat([features, student.call(views.Locals)], 0); // (V·N, d)
        var unit = head.Unit(all); // (V·N, b)
        var loss = DinoLoss.Loss(head.Scores(unit, frozen), targets, views.Crops.CropCount, options.StudentTemperature).mul(clsWeight);

        var ofPatches = patchHead ?? head;
        var scores = ofPatches.Scores(ofPatches.Unit(TokenRows.Take(student.Patches(tokens), place).flatten(0, 1)), frozen).view_as(patchTargets); // (2N, M, K)
        loss = loss.add(IbotLoss.Loss(scores, patchTargets, mask, options.StudentTemperature, options.PatchMean).mul(patchWeight));
        if (options.KoLeoWeight > 0)
        {
            loss = loss.add(Spread(features, views.Count));
        }

        var embedding = unit.narrow(0, 0, DinoLoss.TeacherCrops * views.Count).detach();
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope(), targets.MoveToOuterDisposeScope());
    }

    /// <summary>Moves the centres.</summary>
    public void AfterUpdate(in StepContext context)
    {
        if (options.Centring is MovingCentre { Momentum: var momentum } && latest is not null && latestPatch is not null)
        {
            DinoLoss.MoveCentre(centre!, latest, momentum);
            DinoLoss.MoveCentre(patchCentre!, latestPatch, momentum);
            Forget();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Forget();
        patchCentre?.Dispose();
        centre?.Dispose();
        teacherPatchHead?.Dispose();
        patchHead?.Dispose();
        teacherHead.Dispose();
        head.Dispose();
        token.Dispose();
        teacher.Dispose();
        student.Dispose();
    }

    /// <summary>The teacher's distributions: (2N, K) of the large crops, (2N, M, K) of the patches at <paramref name="place"/>.</summary>
    private (torch.Tensor Crops, torch.Tensor Patches) Taught(MaskedCrops views, torch.Tensor mask, torch.Tensor place, in StepContext context)
    {
        using var noGrad = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var tokens = teacher.Tokens(views.Globals); // (2N, T, d)
        var scores = teacherHead.call(Pooled(tokens)); // (2N, K)
        var patches = teacher.Patches(tokens); // (2N, P, d)
        var (temperature, patchTemperature) = (TemperatureAt(context, options.TeacherTemperature), TemperatureAt(context, options.PatchTemperature));
        var ofPatches = teacherPatchHead ?? teacherHead;
        torch.Tensor targets, patchTargets;
        if (options.Centring is SinkhornCentring sinkhorn)
        {
            var patchScores = Scores(ofPatches, Unit(ofPatches, TokenRows.Take(patches, place)));
            targets = Sinkhorn.Codes(scores, temperature, sinkhorn.Iterations);
            patchTargets = IbotLoss.Codes(patchScores, mask, patchTemperature, sinkhorn.Iterations);
        }
        else
        {
            var hiddenOnly = options.Centring is MovingCentre { HiddenOnly: true };
            var unit = Unit(ofPatches, hiddenOnly ? TokenRows.Take(patches, place) : patches); // (2N, M or P, b)
            var patchScores = Scores(ofPatches, hiddenOnly ? unit : TokenRows.Take(unit, place)); // (2N, M, K)

            // Scores are linear in the vectors: the mean of all patches' scores is the score of their mean.
            var mean = hiddenOnly ? IbotLoss.MeanScores(patchScores, mask) : ofPatches.Scores(unit.mean([0L, 1L]).unsqueeze(0), frozen: false);
            targets = DinoLoss.Targets(scores, centre, temperature);
            patchTargets = DinoLoss.Targets(patchScores.flatten(0, 1), patchCentre, patchTemperature).view_as(patchScores);
            Forget();
            latest = scores.mean([0L], keepdim: true).DetachFromDisposeScope();
            latestPatch = mean.DetachFromDisposeScope();
        }

        return (targets.MoveToOuterDisposeScope(), patchTargets.MoveToOuterDisposeScope());
    }

    /// <summary>The student's tokens of the large crops, hidden patches replaced before their position is added.</summary>
    private torch.Tensor Masked(MaskedCrops views)
    {
        using var scope = torch.NewDisposeScope();
        var patches = token.call(student.Project(views.Globals), views.Masks).add_(student.Positions(views.Globals)); // (2N, P, d)
        return student.Norm(student.Blocks(student.Sequence(patches))).MoveToOuterDisposeScope();
    }

    /// <summary>What the encoder's own forward pass makes of these tokens: (2N, d).</summary>
    private torch.Tensor Pooled(torch.Tensor tokens) =>
        student.Options.Pool == TokenPool.Cls ? tokens.select(1, 0) : student.Patches(tokens).mean([1L]);

    private static torch.Tensor Unit(DinoHead of, torch.Tensor rows) => of.Unit(rows.flatten(0, 1)).unflatten(0, rows.size(0), rows.size(1));

    private static torch.Tensor Scores(DinoHead of, torch.Tensor unit) => of.Scores(unit.flatten(0, 1), frozen: false).unflatten(0, unit.size(0), unit.size(1));

    /// <summary>KoLeo of each large crop by itself, added up: crops of one image are not to be driven apart.</summary>
    private torch.Tensor Spread(torch.Tensor features, long images)
    {
        using Scalar weight = options.KoLeoWeight.ToScalar();
        using var scope = torch.NewDisposeScope();
        return KoLeoLoss.Loss(features.narrow(0, 0, images)).add(KoLeoLoss.Loss(features.narrow(0, images, images))).mul(weight).MoveToOuterDisposeScope();
    }

    private double TemperatureAt(in StepContext context, double final)
    {
        var warmup = (long)Math.Round(options.TemperatureWarmup * context.TotalSteps, MidpointRounding.AwayFromZero);
        return DinoLoss.TeacherTemperature(options.TeacherTemperatureStart, final, warmup, context.Step);
    }

    private void Forget()
    {
        latest?.Dispose();
        latestPatch?.Dispose();
        (latest, latestPatch) = (null, null);
    }

    private void Check(MaskedCrops views)
    {
        var patch = student.Options.Patch;
        if (Aten.Sizes(views.Globals) is [_, _, var height, var width] && height / patch * (width / patch) is var patches && patches != views.Patches)
        {
            throw new ArgumentException(
                $"The masks are for {views.Patches} patches of a crop, but the encoder cuts crops of {height}×{width} pixels into {patches} of {patch}: give the augmentation the encoder's patch.",
                nameof(views));
        }

        if (options.KoLeoWeight > 0 && views.Count < KoLeoLoss.LeastRows)
        {
            throw new ArgumentException(
                $"KoLeo measures distances between the images of a batch, so it needs at least {KoLeoLoss.LeastRows}; received {views.Count}. Enlarge the batch or give KoLeo the weight 0.",
                nameof(views));
        }
    }

    private static void Check(IbotOptions options)
    {
        MethodOptions.Positive(options.StudentTemperature, "student's temperature");
        MethodOptions.Positive(options.TeacherTemperatureStart, "teacher's temperature at the start");
        MethodOptions.Positive(options.TeacherTemperature, "teacher's temperature");
        MethodOptions.Positive(options.PatchTemperature, "teacher's temperature of patches");
        MethodOptions.Fraction(options.TemperatureWarmup, "warm-up of the teacher's temperature");
        MethodOptions.Fraction(options.FreezeLast, "part of the training with frozen prototypes");
        foreach (var (weight, name) in new[] { (options.ClsWeight, "crops"), (options.PatchWeight, "patches"), (options.KoLeoWeight, "KoLeo") })
        {
            if (!(weight >= 0) || !double.IsFinite(weight))
            {
                throw new ArgumentException($"The weight of {name} must be 0 or more; received {weight}.", nameof(options));
            }
        }

        switch (options.Centring)
        {
            case MovingCentre moving:
                MethodOptions.Fraction(moving.Momentum, "momentum of the centre");
                break;
            case SinkhornCentring sinkhorn:
                MethodOptions.AtLeastOne(sinkhorn.Iterations, "number of Sinkhorn iterations");
                break;
            default:
                throw new ArgumentException($"A teacher is centred by a moving mean or by Sinkhorn; received {options.Centring}.", nameof(options));
        }
    }
}
