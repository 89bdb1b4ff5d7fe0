using System.Text;

namespace SslResearch.Core.Data;

/// <summary>
/// The official binary releases (https://www.cs.toronto.edu/~kriz/cifar.html): CIFAR-10, records of one label byte and 3072 pixel bytes;
/// CIFAR-100, records of coarse label, fine label and pixels, of which the fine label is kept. Pixels are three planes of 32×32.
/// </summary>
internal static class CifarImporter
{
    private const int Side = 32;
    private const int Plane = Side * Side;
    private static readonly ImageShape Stored = new(Side, Side, 3);
    private static readonly string[] Train10 = [.. Enumerable.Range(1, 5).Select(static i => $"data_batch_{i}.bin")];

    private sealed record Release(string NamesFile, int LabelBytes, int Classes, IReadOnlyList<(string Split, string[] Files)> Splits);

    private static readonly Release Ten = new("batches.meta.txt", 1, 10, [("train", Train10), ("test", ["test_batch.bin"])]);
    private static readonly Release Hundred = new("fine_label_names.txt", 2, 100, [("train", ["train.bin"]), ("test", ["test.bin"])]);

    public static bool IsPart(string path) => IsOf(Ten, path) || IsOf(Hundred, path);

    private static bool IsNeeded(string path) =>
        IsPart(path) || Path.GetFileName(path) == Ten.NamesFile || Path.GetFileName(path) == Hundred.NamesFile;

    public static ImportOutcome Import(
        string source, ImportTarget target, ImportOptions options, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        if (options.Split is not null)
        {
            throw new DataException($"'{source}' has its own splits. Leave --split {options.Split} out.");
        }

        var files = new Dictionary<string, byte[]>();
        var left = ImportLimits.Tables;
        var leftOut = new LeftOutCount();
        foreach (var entry in EntrySource.Entries(source))
        {
            cancel.ThrowIfCancellationRequested();
            if (!leftOut.Takes(entry, IsNeeded, LeftOutReason.Beside) && !entry.IsFolder)
            {
                var file = Path.GetFileName(entry.Path);
                files[file] = entry.Read(left, source);
                left -= files[file].Length;
                progress?.Report(new ImportReport("reading files", files.Count, null));
            }
        }

        var release = files.Keys.Any(static f => IsOf(Ten, f)) ? Ten : Hundred;
        byte[] File(string name) => files.TryGetValue(name, out var bytes)
            ? bytes
            : throw new DataException($"'{source}' lacks '{name}' of the CIFAR binary release. Download the archive again.");
        var classNames = Encoding.UTF8.GetString(File(release.NamesFile))
            .Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (classNames.Length != release.Classes)
        {
            throw new DataException(
                $"'{release.NamesFile}' in '{source}' names {classNames.Length} classes, expected {release.Classes}. Download the archive again.");
        }

        var packs = new List<(string Split, PackWriter Writer)>();
        try
        {
            var shape = PixelForm.Stored(Stored, options.Channels ?? 3, options.Resize, out _);
            foreach (var (split, names) in release.Splits)
            {
                var writer = target.Writer(split, shape, classNames);
                packs.Add((split, writer));
                foreach (var name in names)
                {
                    Append(writer, File(name), name, source, release, options, cancel);
                    progress?.Report(new ImportReport("writing", packs.Sum(static p => p.Writer.Count), null));
                }
            }

            return new ImportOutcome(target.Name, target.Publish(packs, shape, classNames), [], leftOut.All);
        }
        finally
        {
            packs.ForEach(static p => p.Writer.Dispose());
        }
    }

    private static void Append(
        PackWriter writer, byte[] records, string name, string source, Release release, ImportOptions options, CancellationToken cancel)
    {
        var recordBytes = release.LabelBytes + (3 * Plane);
        if (records.Length == 0 || records.Length % recordBytes != 0)
        {
            throw new DataException(
                $"'{name}' in '{source}' has {records.Length} bytes, not a multiple of {recordBytes}: it is truncated. Download the archive again.");
        }

        var pixels = new byte[3 * Plane];
        for (var start = 0; start < records.Length; start += recordBytes)
        {
            cancel.ThrowIfCancellationRequested();
            var label = records[start + release.LabelBytes - 1];
            if (label >= release.Classes)
            {
                throw new DataException(
                    $"Record {start / recordBytes} of '{name}' in '{source}' has label {label}, expected 0 to {release.Classes - 1}. Download the archive again.");
            }

            var planes = records.AsSpan(start + release.LabelBytes, 3 * Plane);
            for (var i = 0; i < Plane; i++)
            {
                pixels[3 * i] = planes[i];
                pixels[(3 * i) + 1] = planes[Plane + i];
                pixels[(3 * i) + 2] = planes[(2 * Plane) + i];
            }

            writer.Add(PixelForm.Apply(pixels, Stored, options.Channels ?? 3, options.Resize), label);
        }
    }

    private static bool IsOf(Release release, string path) =>
        release.Splits.Any(s => s.Files.Contains(Path.GetFileName(path)));
}
