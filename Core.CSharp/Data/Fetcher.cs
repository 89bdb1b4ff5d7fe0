using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;

namespace SslResearch.Core.Data;

/// <summary>
/// Downloads one file: into <c>FILE.part</c>, going on where an earlier attempt ended, and to its final name only when its SHA-256 is right.
/// </summary>
public sealed class Fetcher : IDisposable
{
    private readonly HttpClient client = new() { Timeout = Timeout.InfiniteTimeSpan };
    private readonly TimeSpan stall;

    /// <param name="stall">A server silent for this long is given up; the part is kept.</param>
    public Fetcher(TimeSpan stall) => this.stall = stall;

    /// <summary>Downloads unless the right file is there already.</summary>
    /// <param name="url">http or https.</param>
    /// <param name="sha256">64 hexadecimal digits.</param>
    /// <param name="path">Final name; its folder is created.</param>
    /// <param name="progress">Bytes.</param>
    /// <param name="cancel">Stops; the part is kept for the next attempt.</param>
    /// <exception cref="DataException">Not reachable, ended early (the part is kept), or a wrong checksum (the part is deleted).</exception>
    public async Task FetchAsync(Uri url, string sha256, string path, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(url);
        ArgumentNullException.ThrowIfNull(sha256);
        var expected = sha256.Trim().ToLowerInvariant();
        if (expected.Length != 64 || !expected.All(char.IsAsciiHexDigit))
        {
            throw new DataException($"'{sha256}' is no SHA-256: 64 hexadecimal digits are needed.");
        }

        if (File.Exists(path) && HashFile(path, progress, cancel) == expected)
        {
            return;
        }

        var part = path + ".part";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            await DownloadAsync(url, part, progress, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or TimeoutException or UnauthorizedAccessException)
        {
            throw new DataException($"Download of {url} failed: {e.Message} What arrived is kept in '{part}'; call again to go on from there.", e);
        }

        var received = HashFile(part, progress, cancel);
        if (received != expected)
        {
            File.Delete(part);
            throw new DataException(
                $"{url} has the wrong checksum: expected SHA-256 {expected}, received {received}. The download was deleted; try again, and if it happens again check the address and the checksum.");
        }

        File.Move(part, path, overwrite: true);
    }

    /// <summary>SHA-256 of a file, 64 lower-case hexadecimal digits.</summary>
    /// <exception cref="DataException">A pipe, a device or another thing that is no regular file.</exception>
    public static string HashFile(string path, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        if (RegularFile.Problem(path) is { } problem)
        {
            throw new DataException($"'{path}': {problem}.");
        }

        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[1 << 20];
        var length = stream.Length;
        int read;
        while ((read = stream.Read(buffer)) > 0)
        {
            cancel.ThrowIfCancellationRequested();
            hash.AppendData(buffer.AsSpan(0, read));
            progress?.Report(new ImportReport("verifying", stream.Position, length));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <inheritdoc/>
    public void Dispose() => client.Dispose();

    private async Task DownloadAsync(Uri url, string part, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        var have = File.Exists(part) ? new FileInfo(part).Length : 0;
        using var request = new HttpRequestMessage(HttpMethod.Get, url);
        if (have > 0)
        {
            request.Headers.Range = new RangeHeaderValue(have, null);
        }

        using var response = await Limit(
            token => client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, token), cancel).ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable && have > 0)
        {
            if (response.Content.Headers.ContentRange?.Length == have)
            {
                return;
            }

            File.Delete(part);
            await DownloadAsync(url, part, progress, cancel).ConfigureAwait(false);
            return;
        }

        response.EnsureSuccessStatusCode();
        var resumed = response.StatusCode == HttpStatusCode.PartialContent && response.Content.Headers.ContentRange?.From == have;
        if (response.StatusCode == HttpStatusCode.PartialContent && !resumed)
        {
            throw new HttpRequestException("the server answered with another range than asked for.");
        }

        var start = resumed ? have : 0;
        var total = start + response.Content.Headers.ContentLength;
        using var file = new FileStream(part, resumed ? FileMode.Append : FileMode.Create, FileAccess.Write, FileShare.None);
        using var content = await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false);
        var buffer = new byte[1 << 16];
        int read;
        while ((read = await Limit(token => content.ReadAsync(buffer, token).AsTask(), cancel).ConfigureAwait(false)) > 0)
        {
            await file.WriteAsync(buffer.AsMemory(0, read), cancel).ConfigureAwait(false);
            start += read;
            progress?.Report(new ImportReport("downloading", start, total));
        }

        file.Flush(flushToDisk: true);
        if (total is not null && start != total)
        {
            throw new HttpRequestException($"the connection ended after {start} of {total} bytes.");
        }
    }

    private async Task<T> Limit<T>(Func<CancellationToken, Task<T>> work, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(stall);
        try
        {
            return await work(limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"the server was silent for {stall.TotalSeconds:0} s.");
        }
    }
}
