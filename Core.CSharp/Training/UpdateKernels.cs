using System.Numerics;

namespace SslResearch.Core.Training;

/// <summary>
/// Element-wise parts of an update over one chunk, a teacher (null for none) followed in the same pass; lengths are multiples of <see cref="FlatParameters.Alignment"/>, so that there are no tails.
/// Each rounds as torch's own vector operations do (multiply-add fused where torch fuses), and each element's result is independent of the vector width.
/// </summary>
internal static unsafe class UpdateKernels
{
    /// <summary>Σw², Σg², Σgw over a chunk, in double.</summary>
    public static (double Weights, double Gradients, double Mixed) Squares(float* w, float* g, long count)
    {
        Vector<double> ww = default, gg = default, gw = default;
        for (var i = 0L; i < count; i += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(w + i), out var w0, out var w1);
            Vector.Widen(Vector.Load(g + i), out var g0, out var g1);
            ww += (w0 * w0) + (w1 * w1);
            gg += (g0 * g0) + (g1 * g1);
            gw += (g0 * w0) + (g1 * w1);
        }

        return (Vector.Sum(ww), Vector.Sum(gg), Vector.Sum(gw));
    }

    /// <summary>g' = (scale·g + decay·w)·local; v ← momentum·v + g'; w ← w − rate·(v, or g' + momentum·v); g ← 0.</summary>
    public static void Sgd(float* w, float* g, float* v, float* t, long count, in SgdScalars s, in FollowScalars f)
    {
        var scale = new Vector<float>(s.Scale);
        var decay = new Vector<float>(s.Decay);
        var local = new Vector<float>(s.Local);
        var momentum = new Vector<float>(s.Momentum);
        var rate = new Vector<float>(-s.Rate);
        var nesterov = s.Nesterov;
        var keep = new Vector<float>(f.Momentum);
        var take = new Vector<float>(f.Rest);
        for (var i = 0L; i < count; i += Vector<float>.Count)
        {
            var weight = Vector.Load(w + i);
            var gradient = Vector.FusedMultiplyAdd(weight, decay, Vector.Load(g + i) * scale) * local;
            var velocity = (Vector.Load(v + i) * momentum) + gradient;
            var direction = nesterov ? Vector.FusedMultiplyAdd(velocity, momentum, gradient) : velocity;
            weight = Vector.FusedMultiplyAdd(direction, rate, weight);
            Vector.Store(velocity, v + i);
            Vector.Store(weight, w + i);
            Vector.Store(Vector<float>.Zero, g + i);
            if (t != null)
            {
                Vector.Store(Vector.FusedMultiplyAdd(weight, take, Vector.Load(t + i) * keep), t + i);
            }
        }
    }

    /// <summary>
    /// g' = scale·g + decay·w; m ← β₁m + (1−β₁)g'; v ← β₂v + (1−β₂)g'²; w ← shrink·w − stepSize·m / (√v·root + ε); g ← 0.
    /// </summary>
    public static void Adam(float* w, float* g, float* m, float* v, float* t, long count, in AdamScalars s, in FollowScalars f)
    {
        var scale = new Vector<float>(s.Scale);
        var decay = new Vector<float>(s.Decay);
        var shrink = new Vector<float>(s.Shrink);
        var beta1 = new Vector<float>(s.Beta1);
        var beta2 = new Vector<float>(s.Beta2);
        var rest1 = new Vector<float>(s.Rest1);
        var rest2 = new Vector<float>(s.Rest2);
        var root = new Vector<float>(s.Root);
        var epsilon = new Vector<float>(s.Epsilon);
        var step = new Vector<float>(-s.StepSize);
        var keep = new Vector<float>(f.Momentum);
        var take = new Vector<float>(f.Rest);
        for (var i = 0L; i < count; i += Vector<float>.Count)
        {
            var weight = Vector.Load(w + i);
            var gradient = Vector.FusedMultiplyAdd(weight, decay, Vector.Load(g + i) * scale);
            var mean = Vector.FusedMultiplyAdd(gradient, rest1, Vector.Load(m + i) * beta1);
            var variance = Vector.FusedMultiplyAdd(gradient * rest2, gradient, Vector.Load(v + i) * beta2);
            var denominator = (Vector.SquareRoot(variance) * root) + epsilon;
            Vector.Store(mean, m + i);
            Vector.Store(variance, v + i);
            weight = (weight * shrink) + (step * mean / denominator);
            Vector.Store(weight, w + i);
            Vector.Store(Vector<float>.Zero, g + i);
            if (t != null)
            {
                Vector.Store(Vector.FusedMultiplyAdd(weight, take, Vector.Load(t + i) * keep), t + i);
            }
        }
    }

    /// <summary>t ← momentum·t + (1−momentum)·w, for further teachers.</summary>
    public static void Follow(float* t, float* w, long count, in FollowScalars f)
    {
        var keep = new Vector<float>(f.Momentum);
        var take = new Vector<float>(f.Rest);
        for (var i = 0L; i < count; i += Vector<float>.Count)
        {
            Vector.Store(Vector.FusedMultiplyAdd(Vector.Load(w + i), take, Vector.Load(t + i) * keep), t + i);
        }
    }
}

internal readonly record struct SgdScalars(float Rate, float Momentum, float Scale, float Decay, float Local, bool Nesterov);

internal readonly record struct FollowScalars(float Momentum, float Rest);

internal readonly record struct AdamScalars(
    float StepSize, float Beta1, float Rest1, float Beta2, float Rest2, float Root, float Epsilon, float Scale, float Decay, float Shrink);
