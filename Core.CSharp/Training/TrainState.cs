using System.Globalization;
using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Methods;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// Everything of a training that a checkpoint holds: parameters and buffers of the trained networks and of the teachers, the optimiser's state,
/// the method's own state, the reports so far. Torch's generator is not among it: the trainer seeds it anew at each step.
/// Names are those of the networks and layouts are row-major, so a checkpoint does not depend on the order or strides in memory.
/// </summary>
internal sealed class TrainState<TViews> : IDisposable
    where TViews : class, IViews
{
    private const string Format = "sslr checkpoint 4";
    private const int HistoryColumns = 9;

    private readonly ISslMethod<TViews> method;
    private readonly TrainOptions options;
    private readonly string identity;

    public TrainState(ISslMethod<TViews> method, ImageStore data, IAugmenter<TViews> augmenter, TrainOptions options, torch.Device device)
    {
        this.method = method;
        this.options = options;
        foreach (var module in method.Trained.Select(t => t.Module).Concat(method.Teachers.Select(t => t.Teacher)))
        {
            module.to(device);
        }

        foreach (var (name, tensor) in method.State)
        {
            if (tensor.device_type != device.type)
            {
                throw new TrainException($"State '{name}' of {method.GetType().Name} is on {tensor.device}, the training on {device}: build the method on that device.");
            }
        }

        Parameters = FlatParameters.Create(method.Trained, method.HeldRate);
        Teachers = [.. method.Teachers.Select(t => FlatTeacher.Create(t, Parameters))];
        Optimiser = new FusedOptimiser(Parameters, Teachers, options.Optimiser, options.ClipNorm);
        using var scope = torch.NewDisposeScope();
        identity = RunIdentity.Text(method, data, augmenter, options, Tensors());
    }

    public FlatParameters Parameters { get; }

    public IReadOnlyList<FlatTeacher> Teachers { get; }

    public FusedOptimiser Optimiser { get; }

    public List<ReportPoint> History { get; } = [];

    /// <summary>Finished steps.</summary>
    public long Step { get; set; }

    /// <summary>Wall time of the steps, earlier starts included.</summary>
    public double Seconds { get; set; }

    /// <summary>Saves everything; nothing of the training changes.</summary>
    public void Save(int epoch)
    {
        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        var history = torch.tensor(
            History.SelectMany(p => new[] { p.Step, p.Epoch, p.Loss, p.Rate, p.Deviation, p.RankMe, p.AssignmentEntropy, p.UsageEntropy, p.Dimensions }).ToArray(), [History.Count, HistoryColumns], torch.float64);
        CheckpointFile.Write(
            options.Folder,
            Step,
            Tensors().Append(new("history", history)),
            new Dictionary<string, string>
            {
                ["format"] = Format,
                ["identity"] = identity,
                ["step"] = Step.ToString(CultureInfo.InvariantCulture),
                ["epoch"] = epoch.ToString(CultureInfo.InvariantCulture),
                ["seconds"] = Seconds.ToString("R", CultureInfo.InvariantCulture),
                ["threads"] = torch.get_num_threads().ToString(CultureInfo.InvariantCulture),
                ["device"] = options.Device,
            });
    }

    /// <summary>Goes back to the newest intact checkpoint of the folder, if there is one.</summary>
    /// <exception cref="TrainException">It belongs to another run.</exception>
    public void Restore(Action<string> note)
    {
        using var checkpoint = CheckpointFile.OpenNewest(options.Folder, note);
        if (checkpoint is null)
        {
            return;
        }

        string Text(string key) => checkpoint.Metadata.TryGetValue(key, out var text)
            ? text
            : throw new TrainException($"The checkpoint of step {checkpoint.Step} in {options.Folder} lacks '{key}': it was not written by this program. Use another folder.");

        if (Text("format") != Format)
        {
            throw new TrainException(
                $"The checkpoint of step {checkpoint.Step} in {options.Folder} has the form '{Text("format")}', this program writes '{Format}': another version wrote it. Use another folder, or delete this one.");
        }

        if (Text("identity") != identity)
        {
            throw new TrainException(
                $"{options.Folder} holds a checkpoint of another run: {RunIdentity.Difference(Text("identity"), identity)}. Use another folder, or delete this one.");
        }

        if (Text("threads") != torch.get_num_threads().ToString(CultureInfo.InvariantCulture) || Text("device") != options.Device)
        {
            note($"Started on {Text("device")} with {Text("threads")} threads, going on on {options.Device} with {torch.get_num_threads()}: results may differ by rounding from an uninterrupted run.");
        }

        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        foreach (var (name, tensor) in Tensors())
        {
            checkpoint.ReadInto(name, tensor);
        }

        var history = checkpoint.Read("history");
        double[] values = history.numel() == 0 ? [] : history.data<double>().ToArray(); // none before the first report; TorchSharp cannot look into an empty tensor
        History.Clear();
        History.AddRange(values.Chunk(HistoryColumns).Select(c => new ReportPoint((long)c[0], (int)c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8])));
        Step = checkpoint.Step;
        Optimiser.Steps = Step;
        Seconds = double.Parse(Text("seconds"), CultureInfo.InvariantCulture);
    }

    public void Dispose()
    {
        Optimiser.Dispose();
        foreach (var teacher in Teachers)
        {
            teacher.Dispose();
        }

        Parameters.Dispose();
    }

    /// <summary>Every long-lived tensor by name, as it is now; views join the current dispose scope.</summary>
    private IEnumerable<KeyValuePair<string, torch.Tensor>> Tensors()
    {
        foreach (var (name, tensor) in method.Trained.SelectMany(t => Of($"model.{t.Prefix}", t.Module))
            .Concat(method.Teachers.SelectMany(t => Of($"teacher.{t.Name}", t.Teacher))))
        {
            yield return new(name, tensor);
        }

        foreach (var (name, flat) in Optimiser.State)
        {
            foreach (var segment in Parameters.Segments)
            {
                yield return new($"optimiser.{name}.{segment.Name}", FlatParameters.View(flat, segment));
            }
        }

        foreach (var (name, tensor) in method.State.OrderBy(s => s.Key, StringComparer.Ordinal))
        {
            yield return new($"state.{name}", tensor);
        }
    }

    private static IEnumerable<(string Name, torch.Tensor Tensor)> Of(string prefix, torch.nn.Module module) =>
        module.named_parameters().Select(p => ($"{prefix}.{p.name}", (torch.Tensor)p.parameter))
            .Concat(module.named_buffers().Select(b => ($"{prefix}.{b.name}", b.buffer)));
}
