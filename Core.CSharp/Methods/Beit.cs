using SslResearch.Core.Models;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Which words <see cref="Beit"/> has to say.</summary>
public enum TokenTargets
{
    /// <summary>Those of the hidden patches.</summary>
    Real,

    /// <summary>
    /// Those of the batch, dealt out anew over all its images and positions at each step: as frequent as the real ones, but saying nothing of the
    /// image. A control: whatever an encoder learns from them, it did not learn from words.
    /// </summary>
    Shuffled,
}

/// <summary>
/// BEiT (Bao et al. 2022): a learned vector stands in for hidden patches, after projection and before positions are added; the encoder sees all
/// patches, and a linear layer says at each hidden one which word of a trained vocabulary it is, by cross entropy, mean over them. The tokenizer sees
/// the whole image, is not trained and is no part of the checkpoint.
/// </summary>
public sealed class Beit : ISslMethod<MaskedView>, IPictured<MaskedView>
{
    private readonly VisionTransformer encoder;
    private readonly MaskedTokenHead head;
    private readonly ITokenizer tokenizer;
    private readonly TokenTargets targets;

    /// <param name="encoder">A vision transformer; belongs to the method from here on.</param>
    /// <param name="tokenizer">Trained on images of the same normalisation; belongs to the method from here on.</param>
    /// <param name="targets">Which words it has to say.</param>
    /// <exception cref="ArgumentException">Another kind of encoder, or patches of another size than the tokenizer's.</exception>
    public Beit(Backbone encoder, ITokenizer tokenizer, TokenTargets targets)
    {
        if (encoder is not VisionTransformer transformer)
        {
            throw new ArgumentException($"BEiT replaces patches, which only a vision transformer takes; received {encoder.GetType().Name}.", nameof(encoder));
        }

        if (transformer.Options.Patch != tokenizer.Patch)
        {
            throw new ArgumentException(
                $"The tokenizer names patches of {tokenizer.Patch} pixels, the encoder sees patches of {transformer.Options.Patch}: give both the same patch.", nameof(tokenizer));
        }

        this.encoder = transformer;
        this.tokenizer = tokenizer;
        this.targets = targets;
        head = new MaskedTokenHead(transformer.FeatureCount, tokenizer.Vocabulary);
        Trained = [("encoder", encoder), ("head", head)];
    }

    /// <inheritdoc/>
    public Backbone Encoder => encoder;

    /// <summary>None: the head scores words of patches.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>
    /// Chance ln V: all words held equally likely. Where some words are more frequent than others, their frequencies alone lead below it, and
    /// shuffled words no further.
    /// </summary>
    public LossLevels Levels(int batchSize) => new(Chance(tokenizer.Vocabulary), null);

    /// <summary>ln V.</summary>
    public static double Chance(int vocabulary) => Math.Log(vocabulary);

    /// <summary>Loss; embedding = mean over the visible patches' tokens (N, width), over all where none is visible.</summary>
    public StepOutput Forward(MaskedView views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var hidden = views.HiddenIndices(); // (N, H)
        var (words, tokens, scores) = Predict(views);
        var labels = (targets == TokenTargets.Shuffled ? Shuffled(words, context) : words).gather(1, hidden).reshape(-1); // (N·H)
        var loss = torch.nn.functional.cross_entropy(scores, labels);
        var seen = tokens.detach();
        var embedding = (views.Visible == 0 ? seen : TokenRows.Take(seen, views.VisibleIndices())).mean([1L]);
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// The image and what is visible of it; where the tokenizer is a <see cref="Dvae"/> also the words in colours, the same with the likeliest ones at
    /// hidden patches, and what its decoder makes of those.
    /// </summary>
    /// <inheritdoc/>
    public MethodPicture Picture(MaskedView views, in StepContext context)
    {
        using var frozen = new FrozenPass(encoder);
        using var scope = torch.NewDisposeScope();
        var (words, _, scores) = Predict(views);
        var (images, hidden, patch) = (views.Images, views.HiddenIndices(), tokenizer.Patch);
        var (n, rows, columns) = (images.size(0), images.size(2) / patch, images.size(3) / patch);
        var covered = HiddenPatches.Mask(views, ((int)rows, (int)columns), patch).unsqueeze(1); // (N, 1, H, W)
        List<string> names = ["input", "masked"];
        List<torch.Tensor> pictures = [images, torch.where(covered, torch.zeros_like(images), images)];
        if (tokenizer is Dvae dvae)
        {
            var guessed = words.scatter(1, hidden, scores.argmax(1).reshape(n, views.Hidden)); // (N, P)
            names.AddRange(["words", "predicted words", "predicted words decoded"]);
            pictures.AddRange([dvae.Coloured(words, images), dvae.Coloured(guessed, images), dvae.Drawn(guessed, images)]);
        }

        return new MethodPicture(names, torch.stack(pictures.Select(Dvae.Rgb).ToArray(), 1).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        tokenizer.Dispose();
        head.Dispose();
        encoder.Dispose();
    }

    /// <summary>Words (N, P), the encoder's tokens of all patches (N, P, width), scores of words at hidden ones (N·H, V).</summary>
    private (torch.Tensor Words, torch.Tensor Tokens, torch.Tensor Scores) Predict(MaskedView views)
    {
        if (views.Hidden == 0)
        {
            throw new ArgumentException("No patch is hidden: nothing is left to be predicted. Hide at least one.", nameof(views));
        }

        using var scope = torch.NewDisposeScope();
        var patches = encoder.Project(views.Images); // (N, P, width)
        var words = tokenizer.Tokens(views.Images); // (N, P)
        if (patches.size(1) != views.Patches || words.size(1) != views.Patches)
        {
            throw new ArgumentException(
                $"The view hides some of {views.Patches} patches, but the encoder cuts an image into {patches.size(1)} and the tokenizer into {words.size(1)}: "
                + $"give the augmentation the patch of the encoder, {encoder.Options.Patch}.",
                nameof(views));
        }

        var hidden = views.HiddenIndices(); // (N, H)
        var input = head.Hide(patches, hidden).add(encoder.Positions(views.Images));
        var tokens = encoder.Patches(encoder.Norm(encoder.Blocks(encoder.Sequence(input))));
        var scores = head.call(TokenRows.Take(tokens, hidden).reshape(-1, encoder.FeatureCount));
        return (words.MoveToOuterDisposeScope(), tokens.MoveToOuterDisposeScope(), scores.MoveToOuterDisposeScope());
    }

    /// <summary>The same words in an order that depends on seed and step.</summary>
    private static torch.Tensor Shuffled(torch.Tensor words, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var order = new int[words.numel()];
        var random = new Philox(context.Seed, RandomPurpose.Method, checked((uint)context.Step));
        random.Permutation(order);
        var rows = torch.tensor(order, torch.int64).to(words.device);
        return words.reshape(-1).index_select(0, rows).reshape(words.size(0), words.size(1)).MoveToOuterDisposeScope();
    }
}
