module Tests.Core.DataFetchTests

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Security.Cryptography
open System.Threading
open Expecto
open SslResearch.Core.Data
open Tests.Support.DataFiles
open Tests.Support.Refusals

type private Behaviour =
    | Whole // answers ranges
    | NoRanges // always sends everything
    | CutAfter of int // ends the connection after that many bytes, answers ranges
    | Missing

/// A server on this machine that serves one file and keeps the range headers that it was asked for.
let private serve (content: byte[]) (behaviour: Behaviour ref) (work: Uri -> ResizeArray<string> -> unit) =
    let probe = new TcpListener(IPAddress.Loopback, 0)
    probe.Start()
    let port = (probe.LocalEndpoint :?> IPEndPoint).Port
    probe.Stop()
    use listener = new HttpListener()
    listener.Prefixes.Add $"http://127.0.0.1:{port}/"
    listener.Start()
    let asked = ResizeArray<string>()

    let answer (context: HttpListenerContext) =
        let response = context.Response
        let range = context.Request.Headers["Range"]
        asked.Add(string range)

        let start =
            match behaviour.Value with
            | NoRanges -> 0
            | _ when isNull range -> 0
            | _ -> Int32.Parse(range.Replace("bytes=", "").TrimEnd '-')

        match behaviour.Value with
        | Missing ->
            response.StatusCode <- 404
            response.Close()
        | _ when start >= content.Length ->
            response.StatusCode <- 416
            response.Headers["Content-Range"] <- $"bytes */{content.Length}"
            response.Close()
        | _ ->
            if start > 0 then
                response.StatusCode <- 206
                response.Headers["Content-Range"] <- $"bytes {start}-{content.Length - 1}/{content.Length}"

            response.ContentLength64 <- int64 (content.Length - start)

            match behaviour.Value with
            | CutAfter n when start + n < content.Length ->
                response.OutputStream.Write(content, start, n)
                response.OutputStream.Flush()
                response.Abort()
            | _ ->
                response.OutputStream.Write(content, start, content.Length - start)
                response.Close()

    let loop =
        Thread(
            (fun () ->
                try
                    while true do
                        answer (listener.GetContext())
                with
                | :? HttpListenerException
                | :? ObjectDisposedException -> ()),
            IsBackground = true
        )

    loop.Start()

    try
        work (Uri $"http://127.0.0.1:{port}/set.tar.gz") asked
    finally
        listener.Abort()

let private content = Array.init 300_000 (fun i -> byte (i * 7 + i / 251))

let private sha (bytes: byte[]) =
    Convert.ToHexStringLower(SHA256.HashData bytes)

let private fetch (url: Uri) (sum: string) path =
    use fetcher = new Fetcher(TimeSpan.FromSeconds 10.)
    fetcher.FetchAsync(url, sum, path, null, CancellationToken.None).GetAwaiter().GetResult()

[<Tests>]
let tests =
    testList
        "data fetch"
        [
            test "a download is verified; what is there is not fetched again" {
                withFolder (fun folder ->
                    serve content (ref Whole) (fun url asked ->
                        let path = Path.Combine(folder, "a", "set.tar.gz")
                        fetch url (sha content) path
                        fetch url ((sha content).ToUpperInvariant()) path
                        Expect.equal (File.ReadAllBytes path) content "content"
                        Expect.equal (filesBelow folder) [| "a/set.tar.gz" |] "no part left"
                        Expect.hasLength asked 1 "one request"))
            }

            test "a broken connection keeps the part, and the next call goes on there" {
                withFolder (fun folder ->
                    let behaviour = ref (CutAfter 100_000)

                    serve content behaviour (fun url asked ->
                        let path = Path.Combine(folder, "set.tar.gz")
                        let text = messageOf<DataException, _>(fun () -> fetch url (sha content) path)
                        Expect.stringContains text "set.tar.gz.part" "message"
                        Expect.isFalse (File.Exists path) "nothing under the final name"
                        let got = FileInfo(path + ".part").Length
                        Expect.isGreaterThan got 0L "a part"
                        Expect.isLessThan got 300_000L "a part only"
                        behaviour.Value <- Whole
                        fetch url (sha content) path
                        Expect.equal (File.ReadAllBytes path) content "content"
                        Expect.sequenceEqual asked [ ""; $"bytes={got}-" ] "the rest only was asked for"))
            }

            test "a server that ignores ranges is read from the start" {
                withFolder (fun folder ->
                    serve content (ref NoRanges) (fun url _ ->
                        let path = Path.Combine(folder, "set.tar.gz")
                        File.WriteAllBytes(path + ".part", Array.create 1000 77uy)
                        fetch url (sha content) path
                        Expect.equal (File.ReadAllBytes path) content "content"))
            }

            test "a part that is complete, or too long" {
                withFolder (fun folder ->
                    serve content (ref Whole) (fun url asked ->
                        let path = Path.Combine(folder, "set.tar.gz")
                        File.WriteAllBytes(path + ".part", content)
                        fetch url (sha content) path
                        Expect.equal (File.ReadAllBytes path) content "complete"
                        File.Delete path
                        File.WriteAllBytes(path + ".part", Array.append content [| 1uy |])
                        asked.Clear()
                        fetch url (sha content) path
                        Expect.equal (File.ReadAllBytes path) content "too long"
                        Expect.sequenceEqual asked [ "bytes=300001-"; "" ] "started again"))
            }

            test "a wrong checksum deletes the download and names both" {
                withFolder (fun folder ->
                    serve content (ref Whole) (fun url _ ->
                        let path = Path.Combine(folder, "set.tar.gz")
                        let wrong = String('a', 64)
                        let text = messageOf<DataException, _>(fun () -> fetch url wrong path)

                        for part in [ string url; $"expected SHA-256 {wrong}"; $"received {sha content}" ] do
                            Expect.stringContains text part "message"

                        Expect.isEmpty (filesBelow folder) "nothing left"))
            }

            test "a missing file, a dead server and a malformed checksum" {
                withFolder (fun folder ->
                    let path = Path.Combine(folder, "set.tar.gz")

                    serve content (ref Missing) (fun url _ ->
                        Expect.stringContains
                            (messageOf<DataException, _>(fun () -> fetch url (sha content) path))
                            "404"
                            "status")

                    Expect.stringContains
                        (messageOf<DataException, _>(fun () ->
                            fetch (Uri "http://127.0.0.1:9/x.tar.gz") (sha content) path))
                        "127.0.0.1:9"
                        "dead server"

                    Expect.stringContains
                        (messageOf<DataException, _>(fun () -> fetch (Uri "http://127.0.0.1:9/x") "12" path))
                        "64"
                        "checksum"

                    Expect.isEmpty (filesBelow folder) "nothing left")
            }

            test "fetch and import in one; unknown names list the known ones" {
                withFolder (fun folder ->
                    let archive = File.ReadAllBytes(tarGzFile (Path.Combine(folder, "src.tgz")) (smallSet 8))
                    let root = Path.Combine(folder, "root")

                    serve archive (ref Whole) (fun url _ ->
                        DatasetFetcher
                            .FetchAsync("small", url, sha archive, root, plain, null, CancellationToken.None)
                            .GetAwaiter()
                            .GetResult()
                        |> ignore

                        Expect.equal (flatContent root "test") [ 0, 0, 0; 0, 0, 1; 1, 1, 0; 1, 1, 1 ] "imported"
                        Expect.sequenceEqual (DatasetCatalogue.List root) [ "small" ] "downloads are no dataset")

                    let text =
                        messageOf<DataException, _>(fun () ->
                            DatasetFetcher
                                .FetchAsync("unheard-of", root, plain, null, CancellationToken.None)
                                .GetAwaiter()
                                .GetResult()
                            |> ignore)

                    for part in [ "unheard-of"; "cifar10"; "cifar100"; "--sha256" ] do
                        Expect.stringContains text part "message")
            }
        ]
