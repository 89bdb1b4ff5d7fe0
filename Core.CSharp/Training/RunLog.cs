using System.Buffers;
using System.Text;
using System.Text.Json;
using TorchSharp;
using TorchSharp.Modules;

namespace SslResearch.Core.Training;

/// <summary>
/// What a training writes beside its checkpoints: <c>metrics.jsonl</c> (deterministic fields only, cut back to the checkpoint on resume),
/// <c>timing.jsonl</c> (speed, starts, notes; only ever appended to) and TensorBoard event files under <c>events</c> (a new one each start).
/// </summary>
internal sealed class RunLog : IDisposable
{
    public const string MetricsName = "metrics.jsonl";
    public const string TimingName = "timing.jsonl";
    public const string EventsName = "events";

    /// <summary>Every line is written at once, so that what a full disk refuses is not tried again when the file is closed.</summary>
    private const int Unbuffered = 0;

    private readonly FileStream metrics;
    private readonly FileStream timing;
    private readonly SummaryWriter events;

    /// <param name="folder">Exists.</param>
    /// <param name="history">Reports up to the checkpoint: what metrics.jsonl is to hold, whatever it holds now.</param>
    public RunLog(string folder, IEnumerable<ReportPoint> history)
    {
        var path = Path.Combine(folder, MetricsName);
        Rewrite(path, history);
        metrics = Lines(path);
        try
        {
            timing = Lines(Path.Combine(folder, TimingName));
            events = torch.utils.tensorboard.SummaryWriter(Path.Combine(folder, EventsName));
        }
        catch
        {
            timing?.Dispose();
            metrics.Dispose();
            throw;
        }
    }

    public void Report(in ReportPoint point, StepReport report, double seconds)
    {
        metrics.Write(Line(point));
        var step = point.Step;
        Timing(json =>
        {
            json.WriteNumber("step", step);
            json.WriteNumber("seconds", Math.Round(seconds, 3));
            json.WriteNumber("images_per_second", Math.Round(report.ImagesPerSecond, 1));
            json.WriteNumber("wait_fraction", Math.Round(report.WaitFraction, 4));
        });
        var at = checked((int)step);
        events.add_scalar("loss", (float)point.Loss, at);
        events.add_scalar("rate", (float)point.Rate, at);
        events.add_scalar("embedding/deviation", (float)point.Deviation, at);
        events.add_scalar("embedding/rankme", (float)point.RankMe, at);
        if (double.IsFinite(point.AssignmentEntropy))
        {
            events.add_scalar("assignment/entropy", (float)point.AssignmentEntropy, at);
            events.add_scalar("assignment/usage", (float)point.UsageEntropy, at);
        }

        events.add_scalar("speed/images per second", (float)report.ImagesPerSecond, at);
        events.add_scalar("speed/wait fraction", (float)report.WaitFraction, at);
    }

    public void Start(long step, string device, int threads) => Timing(json =>
    {
        json.WriteNumber("start_at_step", step);
        json.WriteString("device", device);
        json.WriteNumber("threads", threads);
        json.WriteString("utc", DateTime.UtcNow);
    });

    public void Note(string text) => Timing(json => json.WriteString("note", text));

    public void Dispose()
    {
        metrics.Dispose();
        timing.Dispose();
    }

    private static void Rewrite(string path, IEnumerable<ReportPoint> history)
    {
        var temporary = path + ".tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, Unbuffered))
            {
                stream.Write([.. history.SelectMany(Line)]);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>A file that takes whole lines at its end; half a line, which a kill or a full disk left there, is cut off.</summary>
    private static FileStream Lines(string path)
    {
        var stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read, Unbuffered);
        try
        {
            var end = stream.Length;
            while (end > 0 && ByteAt(stream, end - 1) != '\n')
            {
                end--;
            }

            stream.SetLength(end);
            stream.Position = end;
            return stream;
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    private static int ByteAt(FileStream stream, long position)
    {
        stream.Position = position;
        return stream.ReadByte();
    }

    /// <summary>One line of metrics.jsonl; numbers in their shortest exact form, null where not finite.</summary>
    internal static byte[] Line(ReportPoint point) => Json(json =>
    {
        json.WriteNumber("step", point.Step);
        json.WriteNumber("epoch", point.Epoch + 1);
        Number(json, "loss", point.Loss);
        Number(json, "rate", point.Rate);
        Number(json, "deviation", point.Deviation);
        Number(json, "rankme", point.RankMe);
        if (double.IsFinite(point.AssignmentEntropy))
        {
            Number(json, "assignment_entropy", point.AssignmentEntropy);
            Number(json, "usage_entropy", point.UsageEntropy);
        }
    });

    private static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteNull(name);
        }
    }

    private static byte[] Json(Action<Utf8JsonWriter> fields)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            fields(json);
            json.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }

    private void Timing(Action<Utf8JsonWriter> fields) => timing.Write(Json(fields));
}
