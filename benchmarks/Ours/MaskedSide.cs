extern alias language;

using System.Diagnostics;
using Recipes;
using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Losses;
using SslResearch.Core.Methods;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;
using static TorchSharp.torch;
using Language = language::SslResearch;

namespace SslResearch.Benchmarks;

/// <summary>Forward and backward pass of a vision transformer over all patches of its images, or over a random quarter of them as MAE's encoder has it.</summary>
internal static class MaskedSide
{
    private const ulong Seed = 1;
    private const int BatchSize = 128;

    /// <summary>
    /// What hiding costs in a step of MAE (forward and backward) at its CPU-scale preset, in % of it: drawing the masks, taking the visible tokens
    /// and the hidden patches, putting positions into the mask's order, and the gradient of all that. Both are timed by turns.
    /// </summary>
    public static Measurement Overhead(double seconds)
    {
        using var store = Images.Open(32);
        var normalisation = Language.DataModule.normalisation(Language.Data.Cifar10);
        using var encoder = (VisionTransformer)MaskedCpu.transformer.Build(store.Shape.Channels);
        var augmenter = (MaskedAugmenter)Language.MaskedForms.masked(MaskedCpu.patch, 0.75, MaskedCpu.whole).Build(store.Shape, normalisation);
        using var method = ((Language.IMethod<MaskedView>)Language.Mae.CpuCifar).Build(
            new Language.MethodContext(store.Shape, store.ClassNames.Count, normalisation, encoder, Seed, CPU, BatchSize, OverheadSide.NoRuns));
        method.Initialise(Seed);
        using var loader = new Loader<MaskedView>(store, augmenter, new LoaderOptions(BatchSize, Seed, 1, 2, DropLast: true), CPU, 0);
        var views = loader.Next().Views;
        using var tokens = randn(BatchSize, views.Patches, encoder.FeatureCount).requires_grad_();
        using var positions = randn(views.Patches, encoder.FeatureCount / 2);
        using var gradient = randn(BatchSize, views.Visible, encoder.FeatureCount);
        var order = new long[views.Patches];
        void Step()
        {
            using var scope = NewDisposeScope();
            method.Forward(views, new StepContext(Seed, 500, 1000, 5)).Loss.backward();
        }

        void Hiding()
        {
            using var scope = NewDisposeScope();
            for (var image = 0; image < BatchSize; image++)
            {
                augmenter.Draw(Seed, 0, image, order);
            }

            TokenRows.Take(tokens, views.VisibleIndices()).backward([gradient]);
            using var hidden = TokenRows.Take(MaskedPatchLoss.Patchify(views.Images, MaskedCpu.patch), views.HiddenIndices());
            using var ordered = positions.index_select(0, views.Order.flatten());
        }

        Step();
        Hiding();
        var shares = new List<double>();
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed.TotalSeconds < seconds || shares.Count < 5)
        {
            var step = Time(Step);
            shares.Add(100 * Time(Hiding) / step);
        }

        return Measurement.Of("% of a step", shares);
    }

    private static double Time(Action work)
    {
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < 3; i++)
        {
            work();
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <param name="model">tiny or small (DeiT's sizes).</param>
    /// <param name="size">Side of the images: 32 (patches of 4) or 224 (patches of 16).</param>
    /// <param name="visible">Part of the patches.</param>
    /// <param name="seconds">Time to measure.</param>
    public static Measurement Encoder(string model, int size, double visible, double seconds)
    {
        var (width, heads) = model switch
        {
            "tiny" => (192, 3),
            "small" => (384, 6),
            _ => throw new ArgumentException($"No such size of transformer: {model}."),
        };
        var (patch, batch) = size == 32 ? (4, 64) : (16, 16);
        using var encoder = new VisionTransformer(
            new VitOptions((size, size), patch, width, 12, heads, 4, 0, PositionEncoding.SinCos, TokenPool.Mean, null, 0, true, 1e-6, 3));
        SeededInitialisation.Apply(encoder, Seed, "encoder");
        var patches = size / patch * (size / patch);
        var kept = (int)Math.Round(patches * visible);
        using var generator = manual_seed((long)Seed);
        using var images = randn(batch, 3, size, size);
        using var order = rand(batch, patches).argsort(1).narrow(1, 0, kept).contiguous(); // (N, V)
        using var rows = order.add(arange(batch, dtype: ScalarType.Int64).mul(patches).unsqueeze(1)).flatten();
        return Stopwatches.Measure(
            () =>
            {
                using var scope = NewDisposeScope();
                var tokens = encoder.Embed(images); // (N, P, d)
                var seen = kept == patches ? tokens : tokens.flatten(0, 1).index_select(0, rows).view(batch, kept, width);
                encoder.Norm(encoder.Blocks(encoder.Sequence(seen))).mean().backward();
            },
            "img/s",
            batch,
            seconds);
    }
}
