using System.Buffers.Binary;
using System.Globalization;

namespace SslResearch.Core.Data;

/// <summary>
/// MNIST's idx files under their four standard names, each plain or .gz: unsigned bytes, (N, H, W) images
/// (also (N, H, W, C) with 1 or 3 channels) and (N) labels. Classes are named by their numbers.
/// </summary>
internal static class IdxImporter
{
    private static readonly (string Split, string Prefix)[] Parts = [("train", "train"), ("test", "t10k")];

    private static readonly Dictionary<string, string> Files = Parts
        .SelectMany(static p => new[] { $"{p.Prefix}-images", $"{p.Prefix}-labels" })
        .SelectMany(static stem =>
        {
            var suffix = stem.EndsWith("images", StringComparison.Ordinal) ? "idx3-ubyte" : "idx1-ubyte";
            return new[] { $"{stem}-{suffix}", $"{stem}.{suffix}" }.SelectMany(f => new[] { (f, stem), (f + ".gz", stem) });
        })
        .ToDictionary(static p => p.Item1, static p => p.stem);

    public static bool IsPart(string path) => Files.ContainsKey(Path.GetFileName(path));

    public static ImportOutcome Import(
        string source, ImportTarget target, ImportOptions options, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        if (options.Split is not null)
        {
            throw new DataException($"'{source}' has its own splits. Leave --split {options.Split} out.");
        }

        var found = new Dictionary<string, (string File, byte[] Bytes)>();
        var left = ImportLimits.Tables;
        var leftOut = new LeftOutCount();
        foreach (var entry in EntrySource.Entries(source))
        {
            cancel.ThrowIfCancellationRequested();
            if (!leftOut.Takes(entry, IsPart, LeftOutReason.Beside) && !entry.IsFolder)
            {
                var stem = Files[Path.GetFileName(entry.Path)];
                found[stem] = (entry.Path, Unpacked(entry, left, source));
                left -= found[stem].Bytes.Length;
                progress?.Report(new ImportReport("reading files", found.Count, 4));
            }
        }

        var splits = Parts.Select(p => (p.Split, Read: ReadSplit(p.Prefix, found, source))).ToArray();
        var classes = splits[0].Read.Labels.Max() + 1;
        var classNames = Enumerable.Range(0, classes).Select(static c => c.ToString(CultureInfo.InvariantCulture)).ToArray();
        var from = splits[0].Read.Shape;
        if (splits[1].Read.Shape != from)
        {
            throw new DataException($"Training and test images in '{source}' differ in size: {from} and {splits[1].Read.Shape}. Check the files.");
        }

        var channels = options.Channels ?? from.Channels;
        var shape = PixelForm.Stored(from, channels, options.Resize, out var problem);
        if (problem is not null)
        {
            throw new DataException($"The images in '{source}' are {problem}.");
        }

        var packs = new List<(string Split, PackWriter Writer)>();
        try
        {
            foreach (var (split, read) in splits)
            {
                var writer = target.Writer(split, shape, classNames);
                packs.Add((split, writer));
                for (var i = 0; i < read.Labels.Length; i++)
                {
                    cancel.ThrowIfCancellationRequested();
                    var pixels = read.Bytes.AsSpan(read.Offset + (i * from.Bytes), from.Bytes).ToArray();
                    writer.Add(PixelForm.Apply(pixels, from, channels, options.Resize), read.Labels[i]);
                }

                progress?.Report(new ImportReport("writing", packs.Sum(static p => p.Writer.Count), null));
            }

            return new ImportOutcome(target.Name, target.Publish(packs, shape, classNames), [], leftOut.All);
        }
        finally
        {
            packs.ForEach(static p => p.Writer.Dispose());
        }
    }

    private sealed record Split(byte[] Bytes, int Offset, ImageShape Shape, int[] Labels);

    private static Split ReadSplit(string prefix, Dictionary<string, (string File, byte[] Bytes)> found, string source)
    {
        var (imageFile, images) = Get($"{prefix}-images");
        var (labelFile, labelBytes) = Get($"{prefix}-labels");
        var imageSizes = Sizes(images, imageFile, source, 3, 4);
        var labelSizes = Sizes(labelBytes, labelFile, source, 1);
        if (imageSizes[0] != labelSizes[0])
        {
            throw new DataException(
                $"'{imageFile}' in '{source}' holds {imageSizes[0]} images, '{labelFile}' {labelSizes[0]} labels. Download both again.");
        }

        var shape = new ImageShape(imageSizes[1], imageSizes[2], imageSizes.Length == 4 ? imageSizes[3] : 1);
        if (imageSizes[0] == 0 || shape.Height == 0 || shape.Width == 0 || shape.Channels is not (1 or 3))
        {
            throw new DataException($"'{imageFile}' in '{source}' holds {imageSizes[0]} images of {shape}, which is not usable.");
        }

        var labels = labelBytes.AsSpan(8).ToArray().Select(static b => (int)b).ToArray();
        return new Split(images, 4 + (4 * imageSizes.Length), shape, labels);

        (string File, byte[] Bytes) Get(string stem) => found.TryGetValue(stem, out var file)
            ? file
            : throw new DataException($"'{source}' lacks the file {stem}-idx{(stem.EndsWith("images", StringComparison.Ordinal) ? 3 : 1)}-ubyte (or .gz). Add it.");
    }

    /// <summary>The dimensions, after checking magic number and length.</summary>
    private static int[] Sizes(byte[] bytes, string file, string source, params int[] ranks)
    {
        // Two zero bytes, 0x08 for unsigned bytes, number of dimensions.
        var rank = bytes.Length >= 4 && bytes[0] == 0 && bytes[1] == 0 && bytes[2] == 8 ? bytes[3] : -1;
        if (!ranks.Contains(rank))
        {
            throw new DataException(
                $"'{file}' in '{source}' does not start with the idx magic number 0x0000080{ranks[0]} (unsigned bytes, {ranks[0]} dimension{(ranks[0] > 1 ? "s" : string.Empty)}). Check the file.");
        }

        var sizes = new int[rank];
        long total = 1;
        for (var i = 0; i < rank && bytes.Length >= 8 + (4 * i); i++)
        {
            sizes[i] = BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(4 + (4 * i)));
            total = sizes[i] < 0 || total > int.MaxValue ? long.MaxValue / 2 : total * sizes[i];
        }

        return bytes.Length == total + 4 + (4 * rank)
            ? sizes
            : throw new DataException(
                $"'{file}' in '{source}' has {bytes.Length} bytes, its header ({string.Join('x', sizes)}) asks for {total + 4 + (4 * rank)}: it is truncated. Download it again.");
    }

    private static byte[] Unpacked(SourceEntry entry, long most, string source)
    {
        var bytes = entry.Read(most, source);
        if (!entry.Path.EndsWith(".gz", StringComparison.Ordinal))
        {
            return bytes;
        }

        try
        {
            // Unpacked twice, so that nothing is held that was not counted; the packed bytes are in memory, too.
            long length = 0;
            var piece = new byte[1 << 16];
            using (var gzip = new GunzipStream(new MemoryStream(bytes)))
            {
                int read;
                while ((read = gzip.Read(piece)) > 0)
                {
                    length += read;
                    if (bytes.Length + length > most)
                    {
                        throw EntrySource.TooMuch(entry.Path, source);
                    }
                }
            }

            var plain = new byte[length];
            using (var gzip = new GunzipStream(new MemoryStream(bytes)))
            {
                gzip.ReadExactly(plain);
            }

            return plain;
        }
        catch (InvalidDataException e)
        {
            throw new DataException($"'{entry.Path}' in '{source}' is truncated or damaged. Download it again.", e);
        }
    }
}
