using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Methods;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>The one training loop.</summary>
public static class Trainer
{
    /// <summary>Batches that the loader renders ahead.</summary>
    private const int Prefetch = 3;

    /// <summary>
    /// Trains a method, or goes on where the folder's newest checkpoint is. Stopped anywhere and started again, it ends with the same weights and
    /// metrics, bit by bit, as a run that was never stopped, on the same device with the same number of torch threads; worker threads make no difference.
    /// A finished training returns its outcome at once, weights restored.
    /// </summary>
    /// <remarks>
    /// The method's networks are moved to the device and into flat buffers, in training mode; torch's generator is seeded at each step from seed and step.
    /// A loss that is not finite ends the run as <see cref="TrainEnd.Diverged"/> and leaves that step's inputs in <c>diverged-step-N.safetensors</c>.
    /// On the CPU it is noticed before the update; elsewhere losses are read back in groups, so the weights may have gone up to 15 steps further
    /// (no checkpoint ever has).
    /// </remarks>
    /// <typeparam name="TViews">The batch type that augmenter and method share.</typeparam>
    /// <param name="method">What learns; stays the caller's.</param>
    /// <param name="data">Images; stays the caller's.</param>
    /// <param name="augmenter">Makes views of them.</param>
    /// <param name="options">Everything else.</param>
    /// <param name="progress">Told at each report and otherwise about twice a second, from the calling thread if it is a plain object.</param>
    /// <param name="stop">Saves a checkpoint and returns <see cref="TrainEnd.Interrupted"/> before the next step.</param>
    /// <exception cref="TrainException">Options that cannot work, a folder of another run, or one that cannot be written.</exception>
    /// <exception cref="TorchRuntimeException">The device cannot be used.</exception>
    public static TrainOutcome Train<TViews>(
        ISslMethod<TViews> method,
        ImageStore data,
        IAugmenter<TViews> augmenter,
        TrainOptions options,
        IProgress<StepReport>? progress,
        CancellationToken stop)
        where TViews : class, IViews
    {
        ArgumentNullException.ThrowIfNull(method);
        ArgumentNullException.ThrowIfNull(data);
        ArgumentNullException.ThrowIfNull(augmenter);
        ArgumentNullException.ThrowIfNull(options);
        Check(options, data);
        try
        {
            return Trained(method, data, augmenter, options, progress, stop);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or SafetensorsException { InnerException: IOException or UnauthorizedAccessException })
        {
            throw new TrainException(
                $"The folder {options.Folder}, which takes checkpoints and metrics, cannot be used: {e.Message} Free space or mend its permissions; the same command then goes on from the last checkpoint.", e);
        }
    }

    private static TrainOutcome Trained<TViews>(
        ISslMethod<TViews> method,
        ImageStore data,
        IAugmenter<TViews> augmenter,
        TrainOptions options,
        IProgress<StepReport>? progress,
        CancellationToken stop)
        where TViews : class, IViews
    {
        var device = TorchRuntime.Device(options.Device);
        Directory.CreateDirectory(options.Folder);
        foreach (var left in Directory.GetFiles(options.Folder, "*.tmp"))
        {
            File.Delete(left);
        }

        ResetPeakMemory();
        var notes = new List<string>();
        using var state = new TrainState<TViews>(method, data, augmenter, options, device);
        state.Restore(notes.Add);
        var total = (long)(data.Count / options.BatchSize) * options.Epochs;
        var levels = method.Levels(options.BatchSize);
        if (state.Step < total)
        {
            using var log = new RunLog(options.Folder, state.History);
            using var loader = new Loader<TViews>(
                data, augmenter, new LoaderOptions(options.BatchSize, options.Seed, options.Workers, Prefetch, DropLast: true), device, state.Step);
            using var loop = new Loop<TViews>(method, options, device, state, loader, log, total, levels, progress, notes);
            var end = loop.Run(stop);
            return Outcome(state, options, levels, end, total, notes);
        }

        return Outcome(state, options, levels, TrainEnd.Finished, total, notes);
    }

    private static TrainOutcome Outcome<TViews>(
        TrainState<TViews> state, TrainOptions options, LossLevels? levels, TrainEnd end, long total, List<string> notes)
        where TViews : class, IViews
    {
        var last = state.History.Count > 0 ? state.History[^1] : new ReportPoint(0, 0, double.NaN, double.NaN, double.NaN, double.NaN);
        var speed = state.Seconds > 0 ? state.Step * (double)options.BatchSize / state.Seconds : 0;
        var verdict = end == TrainEnd.Diverged ? Verdict.Diverged : Diagnostics.Judge(state.History, levels);
        return new TrainOutcome(
            end, verdict, state.Step, Diagnostics.Tail(state.History, p => p.Loss), levels, last.Deviation, last.RankMe, state.Seconds, speed, PeakMemory())
        {
            CollapsedSince = Diagnostics.CollapsedSince(state.History, levels),
            Budget = total,
            Notes = notes,
        };
    }

    private static void Check(TrainOptions options, ImageStore data)
    {
        var faults = new List<string>();
        void Require(bool holds, string fault)
        {
            if (!holds)
            {
                faults.Add(fault);
            }
        }

        Require(options.Epochs >= 0, $"{nameof(options.Epochs)} is {options.Epochs}, expected 0 or more");
        Require(options.BatchSize >= 1, $"{nameof(options.BatchSize)} is {options.BatchSize}, expected 1 or more");
        Require(options.BatchSize <= data.Count || options.Epochs == 0, $"{nameof(options.BatchSize)} is {options.BatchSize}, but {data.Name} has {data.Count} images");
        Require(double.IsFinite(options.PeakRate) && options.PeakRate >= 0, $"{nameof(options.PeakRate)} is {options.PeakRate}, expected a finite number from 0");
        Require(double.IsFinite(options.FinalRate) && options.FinalRate >= 0, $"{nameof(options.FinalRate)} is {options.FinalRate}, expected a finite number from 0");
        Require(options.WarmupFraction is >= 0 and <= 1, $"{nameof(options.WarmupFraction)} is {options.WarmupFraction}, expected 0 to 1");
        Require(options.ClipNorm is null or > 0, $"{nameof(options.ClipNorm)} is {options.ClipNorm}, expected a positive number or null");
        Require(options.Workers >= 0, $"{nameof(options.Workers)} is {options.Workers}, expected 0 or more");
        Require(options.CheckpointEvery >= 1, $"{nameof(options.CheckpointEvery)} is {options.CheckpointEvery}, expected 1 or more");
        Require(options.ReportEvery >= 1, $"{nameof(options.ReportEvery)} is {options.ReportEvery}, expected 1 or more");
        Require(!string.IsNullOrWhiteSpace(options.Folder), $"{nameof(options.Folder)} is empty");
        if (faults.Count > 0)
        {
            throw new TrainException($"Training options: {string.Join("; ", faults)}.");
        }
    }

    /// <summary>Starts VmHWM anew, so that runs of one process do not report each other's peaks (man 5 proc, clear_refs).</summary>
    private static void ResetPeakMemory()
    {
        const string ClearReferences = "/proc/self/clear_refs";
        TorchRuntime.ReleaseUnusedMemory();
        try
        {
            if (File.Exists(ClearReferences))
            {
                File.WriteAllText(ClearReferences, "5");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A kernel without it: the peak is then that of the whole process.
        }
    }

    /// <summary>Largest resident set since the training began, in bytes (VmHWM where there is /proc).</summary>
    private static long PeakMemory()
    {
        const string Status = "/proc/self/status";
        var line = File.Exists(Status) ? File.ReadLines(Status).FirstOrDefault(l => l.StartsWith("VmHWM:", StringComparison.Ordinal)) : null;
        if (line is not null)
        {
            return long.Parse(line["VmHWM:".Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture) * 1024;
        }

        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    /// <summary>One start of the loop, from the state's step to the end or a stop.</summary>
    private sealed class Loop<TViews>(
        ISslMethod<TViews> method,
        TrainOptions options,
        torch.Device device,
        TrainState<TViews> state,
        Loader<TViews> loader,
        RunLog log,
        long total,
        LossLevels? levels,
        IProgress<StepReport>? progress,
        List<string> notes) : IDisposable
        where TViews : class, IViews
    {
        /// <summary>Losses read back at once where reading one would stall the device.</summary>
        private const int Window = 16;

        /// <summary>Steps after which unused memory is given back: allocators keep what a moment once needed, some megabytes more in every ten thousand steps.</summary>
        private const int ReleaseEvery = 4096;

        private static readonly TimeSpan ProgressEvery = TimeSpan.FromSeconds(0.5);

        private readonly RateSchedule schedule = new(options.PeakRate, options.WarmupFraction, options.FinalRate, total);
        private readonly torch.Tensor losses = torch.zeros(device.type == DeviceType.CPU ? 1 : Window, torch.float32, device).DetachFromDisposeScope();
        private readonly double[] momenta = new double[state.Teachers.Count];
        private readonly Stopwatch clock = new();
        private readonly double secondsBefore = state.Seconds;
        private readonly long firstStep = state.Step;
        private double lastLoss;
        private int unread;
        private long firstUnread;
        private (long Step, TimeSpan Time, TimeSpan Waited) told = (state.Step, TimeSpan.Zero, TimeSpan.Zero);

        public TrainEnd Run(CancellationToken stop)
        {
            foreach (var (_, module) in method.Trained)
            {
                module.train();
            }

            log.Start(state.Step, options.Device, torch.get_num_threads());
            notes.ForEach(log.Note);
            clock.Start();
            while (state.Step < total)
            {
                if (options.StopAtCollapse && Diagnostics.IsEstablished(state.History, levels))
                {
                    return Saved(TrainEnd.Collapsed);
                }

                if (stop.IsCancellationRequested)
                {
                    return Bad() is { } before ? Diverged(before, null) : Saved(TrainEnd.Interrupted);
                }

                if (DoStep() is { } bad)
                {
                    return bad;
                }
            }

            return TrainEnd.Finished;
        }

        public void Dispose() => losses.Dispose();

        private TrainEnd? DoStep()
        {
            using var scope = torch.NewDisposeScope();
            var step = state.Step;
            var batch = loader.Next();
            var context = new StepContext(options.Seed, step, total, batch.Epoch);
            var report = (step + 1) % options.ReportEvery == 0 || step + 1 == total;
            var save = (step + 1) % options.CheckpointEvery == 0 || step + 1 == total;
            var tell = progress is not null && clock.Elapsed - told.Time >= ProgressEvery;
            Seed(step);
            var output = method.Forward(batch.Views, context);
            Remember(step, output.Loss);
            if ((report || save || tell || unread == losses.size(0)) && Bad() is { } bad)
            {
                return Diverged(bad, bad == step ? batch.Views : null);
            }

            output.Loss.backward();
            if (report || save || step == firstStep)
            {
                state.Parameters.CheckViews();
            }

            for (var i = 0; i < momenta.Length; i++)
            {
                momenta[i] = state.Teachers[i].Average.Momentum(context);
            }

            var rate = schedule.At(step);
            state.Optimiser.Step(rate, momenta, options.PeakRate);
            using (torch.no_grad())
            {
                method.AfterUpdate(context);
            }

            state.Step++;
            if (state.Step % ReleaseEvery == 0)
            {
                TorchRuntime.ReleaseUnusedMemory();
            }

            if (report)
            {
                Report(batch.Epoch, rate, output);
            }
            else if (tell)
            {
                var last = state.History.Count > 0 ? state.History[^1] : new ReportPoint(0, 0, 0, 0, double.NaN, double.NaN);
                Tell(new ReportPoint(state.Step, batch.Epoch, lastLoss, rate, last.Deviation, last.RankMe));
            }

            if (save)
            {
                Saved(TrainEnd.Finished);
            }

            return null;
        }

        /// <summary>Randomness is a function of position: dropout and its like depend on seed and step, and a checkpoint needs no generator.</summary>
        private void Seed(long step)
        {
            var philox = new Philox(options.Seed, RandomPurpose.Method, checked((uint)step), 0, ushort.MaxValue);
            using var generator = torch.manual_seed((long)(philox.NextUInt32() | ((ulong)philox.NextUInt32() << 31)));
        }

        private void Remember(long step, torch.Tensor loss)
        {
            if (loss.numel() != 1)
            {
                throw new InvalidOperationException($"{method.GetType().Name}: expected a scalar loss, received ({string.Join(", ", loss.shape)})");
            }

            firstUnread = unread == 0 ? step : firstUnread;
            using var noGrad = torch.no_grad();
            losses[unread++] = loss.detach().reshape([]);
        }

        /// <summary>The first step whose loss was not finite among those not looked at yet.</summary>
        private long? Bad()
        {
            if (unread == 0)
            {
                return null;
            }

            using var host = losses.cpu();
            ReadOnlySpan<float> values = Aten.Floats(host)[..unread];
            unread = 0;
            lastLoss = values[^1];
            var bad = values.IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
            return bad < 0 ? null : firstUnread + bad;
        }

        private void Report(int epoch, double rate, in StepOutput output)
        {
            var sample = Diagnostics.Sample(output.Embedding);
            var (assignment, usage) = output.Assignment is { } rows ? Diagnostics.Entropies(rows) : (double.NaN, double.NaN);
            var point = new ReportPoint(
                state.Step, epoch, lastLoss, rate, Diagnostics.Deviation(sample), Diagnostics.RankMe(sample), assignment, usage, Math.Min(sample.size(0), sample.size(1)));
            state.History.Add(point);
            log.Report(point, Tell(point), secondsBefore + clock.Elapsed.TotalSeconds);
        }

        private StepReport Tell(in ReportPoint point)
        {
            var now = clock.Elapsed;
            var waited = loader.Waited;
            var seconds = Math.Max((now - told.Time).TotalSeconds, 1e-9);
            var report = new StepReport(
                point.Step,
                total,
                firstStep,
                point.Epoch + 1,
                point.Loss,
                point.Rate,
                point.Deviation,
                point.RankMe,
                (point.Step - told.Step) * options.BatchSize / seconds,
                Math.Clamp((waited - told.Waited).TotalSeconds / seconds, 0, 1),
                now * ((double)(total - point.Step) / (point.Step - firstStep)));
            told = (point.Step, now, waited);
            try
            {
                progress?.Report(report);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new TrainException($"What a step did could not be told: {e.Message} The same command goes on from the last checkpoint.", e);
            }
            return report;
        }

        private TrainEnd Saved(TrainEnd end)
        {
            state.Seconds = secondsBefore + clock.Elapsed.TotalSeconds;
            state.Save((int)(state.Step / loader.StepsPerEpoch));
            return end;
        }

        /// <summary>Saves the inputs of the offending step; a batch that is gone is rendered again, since it is a function of its step.</summary>
        private TrainEnd Diverged(long step, TViews? views)
        {
            if (views is null)
            {
                loader.Seek(step);
                views = loader.Next().Views;
            }

            state.Step = step;
            state.Seconds = secondsBefore + clock.Elapsed.TotalSeconds;
            var tensors = typeof(TViews).GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Where(p => p.PropertyType == typeof(torch.Tensor))
                .Select(p => (p.Name, Value: (torch.Tensor?)p.GetValue(views)))
                .Where(p => p.Value is not null) // a buffer that this augmentation leaves out
                .Select(p => KeyValuePair.Create(p.Name, p.Value!));
            var path = Path.Combine(options.Folder, $"diverged-step-{step.ToString("D8", CultureInfo.InvariantCulture)}.safetensors");
            Safetensors.Write(path, tensors, new Dictionary<string, string>
            {
                ["step"] = step.ToString(CultureInfo.InvariantCulture),
                ["seed"] = options.Seed.ToString(CultureInfo.InvariantCulture),
            });
            var note = $"The loss of step {step} (from 0) was not finite; its inputs are in {path}.";
            notes.Add(note);
            log.Note(note);
            return TrainEnd.Diverged;
        }
    }
}
