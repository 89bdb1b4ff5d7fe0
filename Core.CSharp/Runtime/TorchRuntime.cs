using System.Runtime.InteropServices;
using System.Security.Cryptography;
using TorchSharp;

namespace SslResearch.Core.Runtime;

/// <summary>Finds and loads libtorch before TorchSharp's first call; the one entry to native code.</summary>
public static class TorchRuntime
{
    /// <summary>Environment variable that names a folder of libtorch libraries (an existing PyTorch's <c>torch/lib</c>).</summary>
    public const string LibraryVariable = "SSLR_TORCH_LIB";

    // libLibTorchSharp.so 0.107 names this version for one reference that nothing uses; GCC 12's libstdc++ ends at 3.4.30.
    private const string UnusedVersionNeed = "GLIBCXX_3.4.32";
    private const string Shim = "libLibTorchSharp.so";

    /// <summary>Major and minor version of libtorch whose entry points TorchSharp 0.107's native part was linked against; others lack some of them.</summary>
    private static readonly Version BuiltFor = new(2, 10);

    private static readonly string[] NativePackages = ["torchsharp", "libtorch-cpu-linux-x64"];

    private const string BarrierSpins = "10000";

    // malloc parameters (malloc.h): keep big blocks in the heap and give nothing back, so that each step reuses its pages.
    private const int MallocTrimThreshold = -1;
    private const int MallocTopPad = -2;
    private const int MallocMmapMax = -4;

    private static readonly Lock Gate = new();
    private static RuntimeInfo? loaded;

    /// <summary>What was loaded; null before <see cref="Initialise"/>.</summary>
    public static RuntimeInfo? Loaded => loaded;

    /// <summary>Loads libtorch and sets thread counts. Later calls keep the libraries and change the thread count only if they name one.</summary>
    /// <param name="torchLibrary">
    /// Folder of libtorch; null takes <see cref="LibraryVariable"/>, then the package's own. A folder given here is the only one searched.
    /// </param>
    /// <param name="threads">Threads inside one operation; null takes all cores at the first call.</param>
    /// <exception cref="TorchRuntimeException">libtorch is missing or does not fit; the message says what to do.</exception>
    public static RuntimeInfo Initialise(string? torchLibrary = null, int? threads = null)
    {
        lock (Gate)
        {
            var first = loaded is null;
            loaded ??= Load(torchLibrary ?? NullIfEmpty(Environment.GetEnvironmentVariable(LibraryVariable)));
            if (first || threads is not null)
            {
                torch.set_num_threads(threads ?? Environment.ProcessorCount);
            }

            return loaded;
        }
    }

    /// <summary>The device a user named, checked.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c> or <c>cuda:n</c>.</param>
    /// <exception cref="TorchRuntimeException">Unknown name, libtorch without CUDA, or no such GPU.</exception>
    public static torch.Device Device(string name)
    {
        Initialise();
        if (name == "cpu")
        {
            return torch.CPU;
        }

        var index = 0;
        if (name != "cuda" && !(name.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(name.AsSpan(5), out index) && index >= 0))
        {
            throw new TorchRuntimeException($"Unknown device '{name}': use cpu, cuda or cuda:n.");
        }

        if (!loaded!.HasCuda)
        {
            throw new TorchRuntimeException(
                $"--device {name}: the libtorch in {loaded.Folder} has no CUDA. Name a PyTorch with CUDA by --torch-lib DIR or {LibraryVariable} "
                + $"(its site-packages/torch/lib, libtorch {BuiltFor}), or use --device cpu.");
        }

        if (!torch.cuda.is_available())
        {
            throw new TorchRuntimeException($"--device {name}: libtorch has CUDA, but no CUDA device is usable here (driver or GPU missing). Use --device cpu.");
        }

        return index < torch.cuda.device_count()
            ? new torch.Device(DeviceType.CUDA, index)
            : throw new TorchRuntimeException($"--device {name}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0.");
    }

    private static RuntimeInfo Load(string? given)
    {
        if (!OperatingSystem.IsLinux())
        {
            // On other systems the package's own probing is enough.
            return Described(given ?? AppContext.BaseDirectory, given is not null, patched: false);
        }

        var shim = Find(Shim) ?? throw new TorchRuntimeException(
            $"{Shim} was found neither beside the program nor in the package cache. Build once with network, or set NUGET_PACKAGES to the package cache.");
        var libtorch = given ?? (Find("libtorch_cpu.so") is { } found ? Path.GetDirectoryName(found)! : throw new TorchRuntimeException(
            $"libtorch was found neither beside the program nor in the package cache. Name its folder by --torch-lib DIR or {LibraryVariable}."));
        TuneMalloc();
        TuneOpenMp();
        Version? version = null;
        foreach (var library in Present(libtorch, given is not null))
        {
            var handle = LoadLibrary(library, given);
            if (Path.GetFileName(library) == "libtorch_cpu.so")
            {
                version = CheckedVersion(handle, libtorch);
            }
        }

        var (name, patched) = PrivateShim(shim);
        LoadLibrary(name, given);
        return Described(libtorch, given is not null, patched, version);
    }

    /// <summary>What the loaded libtorch says of itself; refused before anything of it is used where TorchSharp's native part does not fit it.</summary>
    private static unsafe Version CheckedVersion(IntPtr libtorch, string folder)
    {
        var mend = $"TorchSharp {TorchSharpVersion} needs libtorch {BuiltFor}: name the torch/lib folder of a PyTorch {BuiltFor} (pip install \"torch=={BuiltFor}.*\") by --torch-lib DIR or {LibraryVariable}, or leave both out for the package's own on the CPU.";
        if (!NativeLibrary.TryGetExport(libtorch, "aoti_torch_abi_version", out var entry))
        {
            throw new TorchRuntimeException($"The libtorch in {folder} does not tell its version, as those before 2.9 do not. {mend}");
        }

        // major << 56 | minor << 48 | patch << 40 (torch/headeronly/version.h)
        var word = ((delegate* unmanaged<ulong>)entry)();
        var version = new Version((int)(word >> 56), (int)(word >> 48 & 0xff), (int)(word >> 40 & 0xff), (int)(word >> 32 & 0xff));
        return version.Major == BuiltFor.Major && version.Minor == BuiltFor.Minor
            ? version
            : throw new TorchRuntimeException($"The libtorch in {folder} has the version {version.ToString(3)}. {mend}");
    }

    private static RuntimeInfo Described(string folder, bool given, bool patched, Version? version = null)
    {
        try
        {
            torch.InitializeDeviceType(DeviceType.CPU);
            using var probe = torch.ones(2).sum();
            if (probe.ToSingle() != 2f)
            {
                throw new TorchRuntimeException($"The libtorch in {folder} computes 1 + 1 = {probe.ToSingle()}: it does not fit TorchSharp {TorchSharpVersion}.");
            }
        }
        catch (Exception e) when (e is not TorchRuntimeException)
        {
            throw new TorchRuntimeException($"The libtorch in {folder} does not fit TorchSharp {TorchSharpVersion} (built for libtorch {BuiltFor}): {e.GetBaseException().Message}", e);
        }

        return new RuntimeInfo(folder, given, patched, TorchSharpVersion, version?.ToString() ?? torch.__version__, File.Exists(Path.Combine(folder, "libtorch_cuda.so")));
    }

    private static string TorchSharpVersion => typeof(torch).Assembly.GetName().Version?.ToString(3) ?? "?";

    private static IEnumerable<string> Present(string folder, bool given)
    {
        string[] wanted = ["libc10.so", "libtorch_cpu.so", "libc10_cuda.so", "libtorch_cuda.so", "libtorch.so"];
        if (given && !File.Exists(Path.Combine(folder, "libtorch_cpu.so")))
        {
            throw new TorchRuntimeException($"No libtorch_cpu.so in '{folder}', named by --torch-lib or {LibraryVariable}: give the folder that holds it (site-packages/torch/lib).");
        }

        return wanted.Select(n => Path.Combine(folder, n)).Where(File.Exists);
    }

    private static IntPtr LoadLibrary(string path, string? given)
    {
        try
        {
            return NativeLibrary.Load(path);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            var hint = given is null ? "Reinstall the packages, or name another libtorch by --torch-lib DIR." : $"Use the libraries of a PyTorch {BuiltFor} for this system.";
            throw new TorchRuntimeException($"{path} does not load: {e.Message} {hint}", e);
        }
    }

    /// <summary>A copy of the shim in the user's cache, away from any libtorch, weakened where this libstdc++ needs it.</summary>
    private static (string Path, bool Patched) PrivateShim(string shim)
    {
        var bytes = File.ReadAllBytes(shim);
        var patched = !LibstdcxxHas(UnusedVersionNeed) && ElfVersionNeed.Weaken(bytes, UnusedVersionNeed);
        var folder = Path.Combine(CacheRoot.Folder, "native", Convert.ToHexStringLower(SHA256.HashData(bytes))[..16]);
        var target = Path.Combine(folder, Shim);
        if (!File.Exists(target) || new FileInfo(target).Length != bytes.Length)
        {
            try
            {
                WholeFile.Write(target, bytes);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new TorchRuntimeException(
                    $"The cache folder '{folder}' cannot be written ({e.Message}): TorchSharp's native part is kept there. Set XDG_CACHE_HOME to a folder that can.", e);
            }
        }

        return (target, patched);
    }

    private static bool LibstdcxxHas(string version)
    {
        if (!NativeLibrary.TryLoad("libstdc++.so.6", out _))
        {
            return true;
        }

        var path = File.ReadLines("/proc/self/maps").FirstOrDefault(l => l.Contains("libstdc++.so", StringComparison.Ordinal));
        return path is null || File.ReadAllBytes(path[path.IndexOf('/')..]).AsSpan().IndexOf(System.Text.Encoding.ASCII.GetBytes(version + "\0")) >= 0;
    }

    private static string? Find(string file)
    {
        var here = Path.GetDirectoryName(typeof(TorchRuntime).Assembly.Location);
        var probing = (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);
        var beside = new[] { AppContext.BaseDirectory, here ?? AppContext.BaseDirectory }
            .SelectMany<string, string>(d => [d, Path.Combine(d, "runtimes", "linux-x64", "native")]);
        var packages = NullIfEmpty(Environment.GetEnvironmentVariable("NUGET_PACKAGES"))
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        var cached = NativePackages
            .Select(p => Path.Combine(packages, p))
            .Where(Directory.Exists)
            .SelectMany(Directory.GetDirectories)
            .Select(v => Path.Combine(v, "runtimes", "linux-x64", "native"));
        return probing.Concat(beside).Concat(cached).Select(d => Path.Combine(d, file)).FirstOrDefault(File.Exists);
    }

    /// <summary>
    /// Gives memory that nothing holds back to the system: by <see cref="TuneMalloc"/> the C library keeps what it was once given, and the collector
    /// keeps what it may soon need. Takes milliseconds, and what is asked for next has to be cleared anew: for pauses, not for steps.
    /// </summary>
    internal static void ReleaseUnusedMemory()
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        GC.WaitForPendingFinalizers();
        try
        {
            _ = malloc_trim(0);
        }
        catch (EntryPointNotFoundException)
        {
            // Another C library than glibc.
        }
    }

    private static void TuneMalloc()
    {
        try
        {
            _ = mallopt(MallocMmapMax, 0);
            _ = mallopt(MallocTrimThreshold, int.MaxValue);
            _ = mallopt(MallocTopPad, 64 << 20);
        }
        catch (EntryPointNotFoundException)
        {
            // Another C library than glibc: its defaults stay.
        }
    }

    /// <summary>
    /// Shortens the time that OpenMP's threads spin at a barrier (libgomp's own choice is about a millisecond): where another process wants
    /// the cores too, spinning threads take turns with the work they wait for. What a person set is left alone.
    /// </summary>
    private static void TuneOpenMp()
    {
        if (Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is null)
        {
            // libgomp reads the C environment when it is loaded; .NET's own setter does not reach that.
            _ = setenv("GOMP_SPINCOUNT", BarrierSpins, 0);
        }
    }

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    [DllImport("libc")]
    private static extern int mallopt(int parameter, int value);

    [DllImport("libc")]
    private static extern int malloc_trim(nuint pad);

    [DllImport("libc", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int setenv(string name, string value, int overwrite);
}
