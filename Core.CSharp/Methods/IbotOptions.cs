using SslResearch.Core.Losses;
using SslResearch.Core.Models;

namespace SslResearch.Core.Methods;

/// <summary>What keeps the teacher's distributions of <see cref="Ibot"/> from collapsing.</summary>
public abstract record TeacherCentring;

/// <summary>The moving mean of the teacher's scores is subtracted; patches have a mean of their own.</summary>
/// <param name="Momentum">Part of the mean that each step keeps, 0 … 1; at 1 nothing is ever subtracted.</param>
/// <param name="HiddenOnly">Whether the patches' mean is that of hidden patches (DINOv2, lightly) and not of all (iBOT).</param>
public sealed record MovingCentre(double Momentum, bool HiddenOnly) : TeacherCentring;

/// <summary>Sinkhorn over the batch: of large crops, and apart from that of hidden patches (DINOv2, DINOv3).</summary>
/// <param name="Iterations">At least 1.</param>
public sealed record SinkhornCentring(int Iterations) : TeacherCentring;

/// <summary>Choices of <see cref="Ibot"/>.</summary>
/// <param name="Head">Of student and teacher.</param>
/// <param name="PatchHead">Another one for patches; null where one head serves both.</param>
/// <param name="StudentTemperature">τ_s.</param>
/// <param name="TeacherTemperatureStart">τ_t of the first step.</param>
/// <param name="TeacherTemperature">τ_t of whole crops after the warm-up.</param>
/// <param name="PatchTemperature">τ_t of patches after the warm-up.</param>
/// <param name="TemperatureWarmup">Part of the training over which τ_t goes from the one to the other, 0 … 1.</param>
/// <param name="Centring">What keeps the teacher from collapsing.</param>
/// <param name="ClsWeight">Weight of the loss of whole crops, 0 or more.</param>
/// <param name="PatchWeight">Weight of the loss of hidden patches, 0 or more.</param>
/// <param name="PatchMean">What the latter is averaged over.</param>
/// <param name="KoLeoWeight">Weight of <see cref="KoLeoLoss"/> on the student's features of each large crop, 0 or more; 0 leaves it out.</param>
/// <param name="Momentum">Of the teacher's weights at a step.</param>
/// <param name="FreezeLast">Part of the training at whose start the prototypes get no gradient, 0 … 1.</param>
public sealed record IbotOptions(
    DinoHeadOptions Head,
    DinoHeadOptions? PatchHead,
    double StudentTemperature,
    double TeacherTemperatureStart,
    double TeacherTemperature,
    double PatchTemperature,
    double TemperatureWarmup,
    TeacherCentring Centring,
    double ClsWeight,
    double PatchWeight,
    PatchMean PatchMean,
    double KoLeoWeight,
    Func<StepContext, double> Momentum,
    double FreezeLast);
