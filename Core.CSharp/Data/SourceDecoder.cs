using System.Collections.Concurrent;

namespace SslResearch.Core.Data;

/// <summary>One decoded image of a source, brought into the form that a pack stores.</summary>
/// <param name="Path">Its path in the source.</param>
/// <param name="Slot">Where it lies in the spool.</param>
internal sealed record DecodedImage(string Path, int Slot);

/// <summary>An image of a source that cannot be read or stored, and why.</summary>
internal sealed record CorruptImage(string Path, string Problem)
{
    /// <summary>For messages.</summary>
    public override string ToString() => $"{Path} ({Problem})";
}

/// <summary>What was found in a source.</summary>
/// <param name="Images">Decoded, in no particular order.</param>
/// <param name="Folders">Every folder, those too that only the paths of files tell of.</param>
/// <param name="Corrupt">What cannot be read or stored, in ordinal order.</param>
/// <param name="LeftOut">What is no image.</param>
internal sealed record DecodedSource(DecodedImage[] Images, string[] Folders, CorruptImage[] Corrupt, LeftOutCount LeftOut);

/// <summary>Decodes the images of a source on all cores, in one pass over it, within <see cref="ImportLimits"/>.</summary>
internal static class SourceDecoder
{
    /// <summary>Decodes into <paramref name="spool"/>, in no particular order.</summary>
    /// <param name="source">See <see cref="EntrySource"/>.</param>
    /// <param name="spool">Takes the pixels.</param>
    /// <param name="options">Channels and resize rule.</param>
    /// <param name="wanted">Which images, by path; others are not counted as left out.</param>
    /// <param name="progress">Told of images read.</param>
    /// <param name="cancel">Stops.</param>
    public static DecodedSource Decode(
        string source, SpoolFile spool, ImportOptions options, Func<string, bool> wanted, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        var images = new ConcurrentBag<DecodedImage>();
        var corrupt = new ConcurrentBag<CorruptImage>();
        var folders = new HashSet<string>(StringComparer.Ordinal);
        var leftOut = new LeftOutCount();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var done = 0;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var queue = new BlockingCollection<(string Path, NativeBytes File)>(256);
        var encoded = new ByteBudget(ImportLimits.Encoded);
        var channels = options.Channels ?? 3;
        var decoder = new ImageDecoder(options.IgnoreOrientation, new ByteBudget(ImportLimits.Decoded), PixelForm.WorkingBytes(channels, options.Resize));
        var workers = Enumerable.Range(0, Environment.ProcessorCount).Select(_ => Task.Run(Work, CancellationToken.None)).ToArray();
        try
        {
            foreach (var entry in EntrySource.Entries(source))
            {
                AddFolders(entry);
                if (!leftOut.Takes(entry, ImageDecoder.IsImage, LeftOutReason.Extension) && !entry.IsFolder && wanted(entry.Path))
                {
                    if (!seen.Add(entry.Path))
                    {
                        throw new DataException($"'{source}' contains '{entry.Path}' twice. Pack the archive again.");
                    }

                    Read(entry);
                }
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            // A worker failed; its own error is thrown below.
        }
        catch
        {
            stop.Cancel();
            Finish(rethrow: false);
            throw;
        }

        Finish(rethrow: true);
        progress?.Report(new ImportReport("decoding", done, done));
        return new DecodedSource([.. images], [.. folders], [.. corrupt.OrderBy(static c => c.ToString(), StringComparer.Ordinal)], leftOut);

        void AddFolders(SourceEntry entry)
        {
            for (var folder = entry.IsFolder ? entry.Path : Above(entry.Path); folder.Length > 0; folder = Above(folder))
            {
                if (!EntrySource.IsIgnored(folder) && !folders.Add(folder))
                {
                    return;
                }
            }
        }

        static string Above(string path) => path.LastIndexOf('/') is var end and >= 0 ? path[..end] : string.Empty;

        void Read(SourceEntry entry)
        {
            var problem = entry.Problem
                ?? (entry.Length > ImportLimits.Encoded ? $"{entry.Length} bytes, where an image file may have {ImportLimits.Encoded >> 20} MiB" : null);
            if (problem is not null)
            {
                corrupt.Add(new CorruptImage(entry.Path, problem));
                return;
            }

            var file = new NativeBytes(entry.Length, 0, encoded, stop.Token);
            try
            {
                entry.ReadInto(file.Span);
                queue.Add((entry.Path, file), stop.Token);
            }
            catch
            {
                file.Dispose();
                throw;
            }
        }

        void Work()
        {
            try
            {
                foreach (var (path, file) in queue.GetConsumingEnumerable(stop.Token))
                {
                    using var read = file;
                    using var decoded = decoder.Decode(file, stop.Token, out var problem);
                    var shape = decoded is null ? default : PixelForm.Stored(decoded.Shape, channels, options.Resize, out problem);
                    if (decoded is null || problem is not null)
                    {
                        corrupt.Add(new CorruptImage(path, problem!));
                        continue;
                    }

                    var pixels = PixelForm.Apply(decoded.Span, decoded.Shape, channels, options.Resize);
                    images.Add(new DecodedImage(path, spool.Add(pixels, shape, path)));
                    var now = Interlocked.Increment(ref done);
                    if (now % 1000 == 0)
                    {
                        progress?.Report(new ImportReport("decoding", now, null));
                    }
                }
            }
            catch
            {
                stop.Cancel();
                throw;
            }
        }

        void Finish(bool rethrow)
        {
            queue.CompleteAdding();
            try
            {
                Task.WaitAll(workers, CancellationToken.None);
            }
            catch (AggregateException e)
            {
                var cause = e.InnerExceptions.FirstOrDefault(static x => x is not OperationCanceledException) ?? e.InnerExceptions[0];
                if (rethrow)
                {
                    System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(cause);
                }
            }
            finally
            {
                while (queue.TryTake(out var rest))
                {
                    rest.File.Dispose();
                }
            }
        }
    }

    /// <summary>Ends an import that may leave nothing out: one message that counts and names.</summary>
    /// <param name="corrupt">At least one.</param>
    /// <param name="total">Images of the source, those among them.</param>
    /// <param name="what">images or frames.</param>
    /// <param name="source">The source.</param>
    /// <param name="mend">What can be done.</param>
    public static DataException Refusal(IReadOnlyList<CorruptImage> corrupt, int total, string what, string source, string mend)
    {
        const int named = 5;
        var more = corrupt.Count > named ? $" and {corrupt.Count - named} more" : string.Empty;
        return new DataException(
            $"{corrupt.Count} of {total} {what} in '{source}' cannot be imported: {string.Join("; ", corrupt.Take(named))}{more}. {mend}");
    }
}
