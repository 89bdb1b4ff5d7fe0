using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// Updates on the CPU, on torch's own threads. Buffers are cut into fixed chunks that stay in the core's cache while they are updated and followed;
/// norms are summed per chunk and then in the order of the chunks, so no result depends on the number of threads.
/// </summary>
internal sealed unsafe class CpuUpdate : IFlatUpdate
{
    private const int ChunkElements = 4096;

    private readonly OptimiserOptions options;
    private readonly float*[] state;
    private readonly float* weights;
    private readonly float* gradients;
    private readonly Follower[] followers;
    private readonly Chunk[] chunks;
    private readonly IReadOnlyList<FlatSegment> segments;
    private readonly double[] decays;
    private readonly double[] rates;
    private readonly float[] locals;
    private readonly bool[] adapts;
    private readonly (double Weights, double Gradients, double Mixed)[] sums;
    private SgdScalars sgd;
    private AdamScalars adam;
    private double correction = 1;

    public CpuUpdate(FlatParameters parameters, IReadOnlyList<FlatTeacher> teachers, IReadOnlyList<torch.Tensor> stateTensors, OptimiserOptions options)
    {
        this.options = options;
        weights = CpuFloats.Pointer(parameters.Values);
        gradients = CpuFloats.Pointer(parameters.Gradients);
        state = new float*[stateTensors.Count];
        for (var i = 0; i < state.Length; i++)
        {
            state[i] = CpuFloats.Pointer(stateTensors[i]);
        }

        followers = [.. teachers.Select(t => new Follower(CpuFloats.Pointer(t.Values), t.Start, t.Start + t.Values.numel()))];
        chunks = [.. parameters.Segments.SelectMany(Cut)];
        segments = parameters.Segments;
        rates = new double[segments.Count];
        decays = [.. parameters.Segments.Select(s => LocalRates.Decay(options, s))];
        adapts = [.. parameters.Segments.Select(s => options is LarsOptions lars && LocalRates.Adapts(lars, s))];
        locals = new float[decays.Length];
        Array.Fill(locals, 1f);
        sums = new (double, double, double)[chunks.Length];
    }

    public void Run(in UpdateStep step, ReadOnlySpan<double> momenta)
    {
        if (momenta.Length != followers.Length)
        {
            throw new ArgumentException($"expected {followers.Length} momenta, one a teacher, received {momenta.Length}", nameof(momenta));
        }

        for (var i = 0; i < followers.Length; i++)
        {
            followers[i] = followers[i] with { Scalars = new FollowScalars((float)momenta[i], (float)(1 - momenta[i])) };
        }

        var scale = 1.0;
        if (step.ClipNorm is not null || options is LarsOptions)
        {
            var sum = new SumKernel(this);
            NativeParallel.For(ref sum, chunks.Length);
            scale = step.ClipNorm is { } largest ? LocalRates.ClipScale(Math.Sqrt(sums.Sum(s => s.Gradients)), largest) : 1;
        }

        Prepare(step, (float)scale);
        var update = new UpdateKernel(this);
        NativeParallel.For(ref update, chunks.Length);
    }

    public void Dispose()
    {
    }

    private static IEnumerable<Chunk> Cut(FlatSegment segment, int index)
    {
        for (var start = segment.Offset; start < segment.End; start += ChunkElements)
        {
            yield return new Chunk(index, start, Math.Min(ChunkElements, segment.End - start));
        }
    }

    private void Prepare(in UpdateStep step, float scale)
    {
        for (var i = 0; i < rates.Length; i++)
        {
            rates[i] = step.RateOf(segments[i]);
        }

        switch (options)
        {
            case SgdOptions o:
                sgd = new SgdScalars(0, (float)o.Momentum, scale, 0, 1, o.Nesterov);
                break;
            case LarsOptions o:
                sgd = new SgdScalars(0, (float)o.Momentum, scale, 0, 1, o.Nesterov);
                SetLocalRates(o, scale);
                break;
            case AdamWOptions o:
                correction = 1 - Math.Pow(o.Beta1, step.Number);
                adam = Adam(o.Beta1, o.Beta2, o.Epsilon, step, scale);
                break;
            case AdamOptions o:
                correction = 1 - Math.Pow(o.Beta1, step.Number);
                adam = Adam(o.Beta1, o.Beta2, o.Epsilon, step, scale);
                break;
        }
    }

    private static AdamScalars Adam(double beta1, double beta2, double epsilon, in UpdateStep step, float scale) => new(
        0,
        (float)beta1,
        (float)(1 - beta1),
        (float)beta2,
        (float)(1 - beta2),
        (float)(1 / Math.Sqrt(1 - Math.Pow(beta2, step.Number))),
        (float)epsilon,
        scale,
        Decay: 0,
        Shrink: 1);

    private void SetLocalRates(LarsOptions lars, double scale)
    {
        var next = 0;
        for (var segment = 0; segment < decays.Length; segment++)
        {
            double w = 0, g = 0, gw = 0;
            for (; next < chunks.Length && chunks[next].Segment == segment; next++)
            {
                w += sums[next].Weights;
                g += sums[next].Gradients;
                gw += sums[next].Mixed;
            }

            locals[segment] = adapts[segment] ? (float)LocalRates.Lars(lars, decays[segment], rates[segment], w, g * scale * scale, gw * scale) : 1;
        }
    }

    private void Sum(int from, int to)
    {
        for (var i = from; i < to; i++)
        {
            sums[i] = UpdateKernels.Squares(weights + chunks[i].Start, gradients + chunks[i].Start, chunks[i].Count);
        }
    }

    private void Update(int from, int to)
    {
        for (var i = from; i < to; i++)
        {
            var (segment, start, count) = chunks[i];
            var decay = (float)decays[segment];
            var first = 0;
            while (first < followers.Length && !followers[first].Has(start))
            {
                first++;
            }

            var teacher = first < followers.Length ? followers[first].At(start) : null;
            var follow = first < followers.Length ? followers[first].Scalars : default;
            float* w = weights + start, g = gradients + start, s = state[0] + start;
            switch (options)
            {
                case AdamWOptions:
                    UpdateKernels.Adam(w, g, s, state[1] + start, teacher, count, adam with { StepSize = (float)(rates[segment] / correction), Shrink = (float)(1 - (rates[segment] * decays[segment])) }, follow);
                    break;
                case AdamOptions:
                    UpdateKernels.Adam(w, g, s, state[1] + start, teacher, count, adam with { StepSize = (float)(rates[segment] / correction), Decay = decay }, follow);
                    break;
                default:
                    UpdateKernels.Sgd(w, g, s, teacher, count, sgd with { Rate = (float)rates[segment], Decay = decay, Local = locals[segment] }, follow);
                    break;
            }

            for (var f = first + 1; f < followers.Length; f++)
            {
                if (followers[f].Has(start))
                {
                    UpdateKernels.Follow(followers[f].At(start), weights + start, count, followers[f].Scalars);
                }
            }
        }
    }

    private readonly struct SumKernel(CpuUpdate owner) : IRangeKernel
    {
        public void Run(int from, int to) => owner.Sum(from, to);
    }

    private readonly struct UpdateKernel(CpuUpdate owner) : IRangeKernel
    {
        public void Run(int from, int to) => owner.Update(from, to);
    }

    private readonly record struct Chunk(int Segment, long Start, long Count);

    private readonly record struct Follower(IntPtr Address, long Start, long End, FollowScalars Scalars)
    {
        public Follower(float* values, long start, long end)
            : this((IntPtr)values, start, end, new FollowScalars(1, 0))
        {
        }

        public bool Has(long element) => element >= Start && element < End;

        public float* At(long element) => (float*)Address + (element - Start);
    }
}
