using System.Reflection;
using System.Runtime.InteropServices;
using TorchSharp;

namespace SslResearch.Core.Runtime;

/// <summary>Leads this assembly's native imports to the very libraries that TorchSharp has loaded.</summary>
internal static class TorchImports
{
    /// <summary>libtorch's C interface.</summary>
    public const string Libtorch = "torch_cpu";

    /// <summary>TorchSharp's native half.</summary>
    public const string Shim = "LibTorchSharp";

    static TorchImports() => NativeLibrary.SetDllImportResolver(typeof(TorchImports).Assembly, Find);

    /// <summary>To be called by the static constructor of a class that imports from these libraries.</summary>
    public static void Resolve()
    {
    }

    private static IntPtr Find(string name, Assembly assembly, DllImportSearchPath? path) => name switch
    {
        Libtorch when NativeLibrary.TryLoad("libtorch_cpu.so", out var handle) => handle,
        Shim when NativeLibrary.TryLoad(Shim, typeof(torch).Assembly, null, out var handle) => handle,
        _ => IntPtr.Zero,
    };
}
