using System.Diagnostics;
using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Methods;
using SslResearch.Core.Training;
using SslResearch.Core.Views;

namespace SslResearch.Benchmarks;

/// <summary>Measurements of whole training steps, through the trainer that a person's run goes through.</summary>
internal static class TrainingSide
{
    private const double WarmUpSeconds = 2;

    /// <summary>Fixed views, so that next to nothing but the step is measured.</summary>
    public static Measurement Step(double seconds)
    {
        const int images = 64;
        using var method = Networks.Narrow();
        using var store = Noise(images * 16);
        var reports = Reports(method, store, new FixedViews(store.Shape), images, 0.1, seconds, 10);
        return Measurement.Of("steps/s", [.. reports.Select(r => r.ImagesPerSecond / images)]);
    }

    public static Measurement Pretraining(double seconds) =>
        Measurement.Of("images/s", [.. Preset(seconds).Select(r => r.ImagesPerSecond)]);

    public static Measurement Wait(double seconds) =>
        Measurement.Of("% of the step", [.. Preset(seconds).Select(r => 100 * r.WaitFraction)]);

    /// <summary>Largest distance of the resident set from its size at a tenth of the steps, in per cent.</summary>
    public static Measurement Memory(int steps)
    {
        const int batch = 256;
        using var method = Networks.Preset();
        using var store = Images.Open(32);
        var sizes = new List<double>();
        using var stop = new CancellationTokenSource();
        var every = Math.Max(1, steps / 50);
        Train(
            method, store, PresetViews(store.Shape), batch, 0.12, every,
            report =>
            {
                if (report.Step >= steps / 10)
                {
                    sizes.Add(Resident());
                }

                if (report.Step >= steps)
                {
                    stop.Cancel();
                }
            },
            stop.Token);
        return new Measurement(sizes.Max(s => 100 * Math.Abs((s / sizes[0]) - 1)), "% of the resident set", sizes);
    }

    private static List<StepReport> Preset(double seconds)
    {
        using var method = Networks.Preset();
        using var store = Images.Open(32);
        return Reports(method, store, PresetViews(store.Shape), 256, 0.12, seconds, 10);
    }

    private static TwoViewAugmenter PresetViews(ImageShape source)
    {
        var pipeline = Pipelines.WithoutBlur(source, 24);
        return new TwoViewAugmenter(pipeline, pipeline);
    }

    /// <summary>The reports between the warm-up and the end.</summary>
    private static List<StepReport> Reports(
        SimClr method, ImageStore store, IAugmenter<TwoViews> augmenter, int batch, double rate, double seconds, int every)
    {
        var reports = new List<StepReport>();
        using var stop = new CancellationTokenSource();
        long begin = 0;
        Train(
            method, store, augmenter, batch, rate, every,
            report =>
            {
                begin = begin == 0 ? Stopwatch.GetTimestamp() : begin;
                var spent = Stopwatch.GetElapsedTime(begin).TotalSeconds;
                if (spent > WarmUpSeconds)
                {
                    reports.Add(report);
                }

                if (spent > WarmUpSeconds + seconds && reports.Count > 0)
                {
                    stop.Cancel();
                }
            },
            stop.Token);
        return reports;
    }

    private static void Train(
        SimClr method, ImageStore store, IAugmenter<TwoViews> augmenter, int batch, double rate, int every, Action<StepReport> tell, CancellationToken stop)
    {
        var folder = Directory.CreateTempSubdirectory("sslr-bench-");
        try
        {
            var options = new TrainOptions(
                Epochs: 10_000,
                BatchSize: batch,
                Optimiser: new SgdOptions(0.9, false, 5e-4, true),
                PeakRate: rate,
                WarmupFraction: 0.05,
                FinalRate: 0,
                ClipNorm: null,
                Seed: 0,
                Workers: 1,
                Device: "cpu",
                CheckpointEvery: 1_000_000,
                ReportEvery: every,
                Folder: folder.FullName);
            method.Initialise(options.Seed);
            var outcome = Trainer.Train(method, store, augmenter, options, new Listener(tell), stop);
            if (outcome.End != TrainEnd.Interrupted)
            {
                throw new InvalidOperationException($"The training ended by itself after {outcome.Steps} steps: {outcome.End}.");
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static ImageStore Noise(int count)
    {
        var shape = new ImageShape(32, 32, 3);
        var pixels = new byte[count * shape.Bytes];
        for (var i = 0; i < pixels.Length; i++)
        {
            pixels[i] = (byte)((i * 2654435761L) >> 13);
        }

        return ImageStore.FromMemory("noise", shape, pixels, new int[count], ["none"], "train");
    }

    private static long Resident()
    {
        using var self = Process.GetCurrentProcess();
        return self.WorkingSet64;
    }

    private sealed class Listener(Action<StepReport> tell) : IProgress<StepReport>
    {
        public void Report(StepReport value) => tell(value);
    }
}
