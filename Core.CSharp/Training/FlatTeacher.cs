using SslResearch.Core.Methods;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// A moving-average teacher's parameters as views of one flat buffer that mirrors the student's part of <see cref="FlatParameters.Values"/>,
/// so that the optimiser updates both in one pass. Buffers (batch-norm statistics) are not averaged; parameters that the student keeps frozen stay as they are.
/// </summary>
public sealed class FlatTeacher : IDisposable
{
    private FlatTeacher(MovingAverage average, torch.Tensor values, long start, IReadOnlyList<FlatSegment> segments)
    {
        Average = average;
        Values = values;
        Start = start;
        Segments = segments;
    }

    /// <summary>What follows whom.</summary>
    public MovingAverage Average { get; }

    /// <summary>(m) float32: element i belongs to element <see cref="Start"/> + i of the student's buffer.</summary>
    public torch.Tensor Values { get; }

    /// <summary>First element of the student's buffer that is mirrored.</summary>
    public long Start { get; }

    /// <summary>The teacher's parameters in <see cref="Values"/>, named after it.</summary>
    public IReadOnlyList<FlatSegment> Segments { get; }

    /// <summary>Moves a teacher's parameters into a flat buffer.</summary>
    /// <param name="average">Teacher and student; the student must be part of <paramref name="student"/>.</param>
    /// <param name="student">The flat parameters.</param>
    /// <exception cref="ArgumentException">The two networks differ in names or shapes, or the student is not trained.</exception>
    public static FlatTeacher Create(MovingAverage average, FlatParameters student)
    {
        ArgumentNullException.ThrowIfNull(average);
        ArgumentNullException.ThrowIfNull(student);
        var sources = average.Student.named_parameters().ToArray();
        var targets = average.Teacher.named_parameters().ToArray();
        if (!sources.Select(Signature).SequenceEqual(targets.Select(Signature)))
        {
            throw new ArgumentException($"teacher '{average.Name}': its parameters differ from its student's in names or shapes", nameof(average));
        }

        var pairs = sources.Zip(targets)
            .Select(p => (Source: student.Find(p.First.parameter), Target: p.Second))
            .Where(p => p.Source is not null)
            .Select(p => (Source: p.Source!, p.Target))
            .ToArray();
        if (pairs.Length == 0)
        {
            throw new ArgumentException($"teacher '{average.Name}': its student has no trained parameters", nameof(average));
        }

        var start = pairs.Min(p => p.Source.Offset);
        var values = FlatParameters.Zeros(pairs.Max(p => p.Source.End) - start, student.Values.device);
        using var noGrad = torch.no_grad();
        var segments = new List<FlatSegment>();
        foreach (var (source, (name, target)) in pairs)
        {
            var segment = source with { Name = $"{average.Name}.{name}", Offset = source.Offset - start };
            target.requires_grad_(false);
            FlatParameters.Adopt(target, values, segment);
            segments.Add(segment);
        }

        return new FlatTeacher(average, values, start, segments);
    }

    /// <summary>Frees the handle of the buffer; the teacher's parameters stay views of it.</summary>
    public void Dispose() => Values.Dispose();

    private static string Signature((string Name, TorchSharp.Modules.Parameter Parameter) p) =>
        $"{p.Name} ({string.Join(", ", p.Parameter.shape)})";
}
