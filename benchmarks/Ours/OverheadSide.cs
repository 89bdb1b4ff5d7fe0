extern alias language;

using System.Diagnostics;
using Microsoft.FSharp.Core;
using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Methods;
using SslResearch.Core.Training;
using SslResearch.Core.Views;
using TorchSharp;
using static TorchSharp.torch;
using Language = language::SslResearch;

namespace SslResearch.Benchmarks;

/// <summary>
/// What a method's step costs over the bare forward and backward passes of its own networks on the same inputs: everything that is
/// no pass of a network (losses, queues, centring, Sinkhorn, moving averages, the optimiser's update) is overhead.
/// </summary>
internal static class OverheadSide
{
    private const int BatchSize = 256;

    /// <summary>For methods that build on no other run.</summary>
    public static readonly FSharpFunc<Language.ITrainedRun, IDisposable> NoRuns =
        FuncConvert.FromFunc<Language.ITrainedRun, IDisposable>(run => throw new InvalidOperationException($"'{run.Title}' is not trained here."));
    private const ulong Seed = 0;

    /// <summary>Median over alternated pairs of (step − passes) / passes, in per cent.</summary>
    /// <param name="description">The method; it builds on no other run.</param>
    /// <param name="augmentation">Its views.</param>
    /// <param name="seconds">Time to measure.</param>
    /// <param name="unhooked">Passes of trained networks that go by no hook, by prefix and input: feature maps, heads that are asked in parts.</param>
    public static Measurement Of<TViews>(
        Language.IMethod<TViews> description, Language.IAugmentation<TViews> augmentation, double seconds, Func<TViews, (string Prefix, Tensor Input)>? unhooked = null)
        where TViews : class, IViews
    {
        using var store = Images.Open(32);
        var normalisation = Language.DataModule.normalisation(Language.Data.Cifar10);
        var encoder = Language.Backbones.SmallResNet.Build(store.Shape.Channels);
        using var method = description.Build(new Language.MethodContext(store.Shape, store.ClassNames.Count, normalisation, encoder, Seed, CPU, BatchSize, NoRuns));
        method.Initialise(Seed);
        var augmenter = augmentation.Build(store.Shape, normalisation);
        using var loader = new Loader<TViews>(store, augmenter, new LoaderOptions(BatchSize, Seed, 1, 2, DropLast: true), CPU, 0);
        var views = loader.Next().Views;
        foreach (var (_, module) in method.Trained)
        {
            module.train();
        }

        using var flat = FlatParameters.Create(method.Trained, method.HeldRate);
        FlatTeacher[] teachers = [.. method.Teachers.Select(t => FlatTeacher.Create(t, flat))];
        using var optimiser = new FusedOptimiser(flat, teachers, new SgdOptions(0.9, false, 5e-4, true), null);

        // A rate of 0 keeps the weights, and so the work, the same from step to step.
        var context = new StepContext(Seed, 500, 1000, 5);
        var momenta = teachers.Select(t => t.Average.Momentum(context)).ToArray();
        void Step()
        {
            using var scope = NewDisposeScope();
            method.Forward(views, context).Loss.backward();
            optimiser.Step(0, momenta, 0);
            using var frozen = no_grad();
            method.AfterUpdate(context);
        }

        using var recording = Recording.Of(method, Step);
        if (unhooked is not null)
        {
            using var scope = NewDisposeScope();
            var (prefix, input) = unhooked(views);
            recording.Add((nn.Module<Tensor, Tensor>)method.Trained.Single(t => t.Prefix == prefix).Module, input, withGradient: true);
        }

        recording.Replay(); // gradients and caches are there from here on
        Step();
        var shares = new List<double>();
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed.TotalSeconds < seconds || shares.Count < 5)
        {
            var passes = Time(recording.Replay);
            var step = Time(Step);
            shares.Add(100 * ((step / passes) - 1));
        }

        foreach (var teacher in teachers)
        {
            teacher.Dispose();
        }

        return Measurement.Of("% over its passes", shares);
    }

    private static double Time(Action work)
    {
        const int times = 3;
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < times; i++)
        {
            work();
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>The calls of a method's networks during one step, with their inputs.</summary>
    private sealed class Recording : IDisposable
    {
        private readonly List<(nn.Module<Tensor, Tensor> Network, Tensor Input, bool WithGradient)> calls = [];
        private readonly List<Tensor> ones = [];

        public static Recording Of<TViews>(ISslMethod<TViews> method, Action step)
            where TViews : class, IViews
        {
            var recording = new Recording();
            var hooks = method.Trained.Select(t => t.Module).Concat(method.Teachers.Select(t => t.Teacher))
                .OfType<nn.Module<Tensor, Tensor>>()
                .Select(network => network.register_forward_pre_hook((_, input) =>
                {
                    recording.Add(network, input, is_grad_enabled());
                    return input;
                }))
                .ToList();
            step();
            hooks.ForEach(h => h.remove());
            return recording;
        }

        public void Add(nn.Module<Tensor, Tensor> network, Tensor input, bool withGradient) =>
            calls.Add((network, input.detach().clone().requires_grad_(input.requires_grad).DetachFromDisposeScope(), withGradient));

        /// <summary>Each pass once, forward and, where the step has one, backward.</summary>
        public void Replay()
        {
            using var scope = NewDisposeScope();
            for (var i = 0; i < calls.Count; i++)
            {
                var (network, input, withGradient) = calls[i];
                using var mode = withGradient ? enable_grad() : no_grad();
                var output = network.call(input);
                if (ones.Count == i)
                {
                    ones.Add(ones_like(output).DetachFromDisposeScope());
                }

                if (withGradient)
                {
                    output.backward([ones[i]]);
                    input.grad = null;
                }
            }
        }

        public void Dispose()
        {
            calls.ForEach(c => c.Input.Dispose());
            ones.ForEach(o => o.Dispose());
        }
    }
}
