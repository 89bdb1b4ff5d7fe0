using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace SslResearch.Core.Runtime;

/// <summary>A piece of work that can be split by index. Must not throw and must not touch tensors.</summary>
public interface IRangeKernel
{
    /// <summary>Does items <paramref name="from"/> … <paramref name="to"/>-1.</summary>
    void Run(int from, int to);
}

/// <summary>
/// Runs our kernels on libtorch's own OpenMP threads, so that they neither compete with its spinning workers nor pay for waking others.
/// </summary>
public static unsafe class NativeParallel
{
    private static readonly delegate* unmanaged<delegate* unmanaged<void*, void>, void*, uint, uint, void> Region = FindRegion();
    private static readonly delegate* unmanaged<int> ThreadIndex = FindThreadIndex();

    /// <summary>Splits <paramref name="count"/> items evenly over torch's threads and waits for all of them.</summary>
    /// <param name="kernel">Shared by all threads.</param>
    /// <param name="count">Number of items; each should be worth at least some microseconds.</param>
    public static void For<T>(ref T kernel, int count)
        where T : struct, IRangeKernel
    {
        var threads = Math.Min(torch.get_num_threads(), count);
        if (threads <= 1 || Region == null || ThreadIndex == null)
        {
            kernel.Run(0, count);
            return;
        }

        fixed (byte* state = &Unsafe.As<T, byte>(ref kernel))
        {
            var job = new Job { Kernel = state, Invoke = &Invoke<T>, Count = count, Threads = threads };
            Region(&Enter, &job, (uint)threads, 0);
        }
    }

    private static void Invoke<T>(byte* kernel, int from, int to)
        where T : struct, IRangeKernel => Unsafe.AsRef<T>(kernel).Run(from, to);

    [UnmanagedCallersOnly]
    private static void Enter(void* data)
    {
        var job = (Job*)data;
        var index = ThreadIndex();
        job->Invoke(job->Kernel, (int)((long)job->Count * index / job->Threads), (int)((long)job->Count * (index + 1) / job->Threads));
    }

    private static delegate* unmanaged<delegate* unmanaged<void*, void>, void*, uint, uint, void> FindRegion() =>
        (delegate* unmanaged<delegate* unmanaged<void*, void>, void*, uint, uint, void>)Find("GOMP_parallel");

    private static delegate* unmanaged<int> FindThreadIndex() => (delegate* unmanaged<int>)Find("omp_get_thread_num");

    /// <summary>The symbol as libtorch itself sees it, through its dependencies; GNU's and Intel's runtimes both export these names.</summary>
    private static IntPtr Find(string symbol)
    {
        TorchRuntime.Initialise();
        return NativeLibrary.TryLoad("libtorch_cpu.so", out var torch) && NativeLibrary.TryGetExport(torch, symbol, out var address) ? address : 0;
    }

    private struct Job
    {
        public byte* Kernel;
        public delegate*<byte*, int, int, void> Invoke;
        public int Count;
        public int Threads;
    }
}
