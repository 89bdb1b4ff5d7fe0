using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>What a forward pass yields.</summary>
/// <param name="Loss">Scalar float32 with its graph.</param>
/// <param name="Embedding">(M, d) float32, detached: what the collapse diagnostics look at.</param>
/// <param name="Assignment">
/// (M, K) float32, detached, rows sum to 1: what the teacher says of each view, for methods that compare distributions over prototypes;
/// null for others.
/// </param>
public readonly record struct StepOutput(torch.Tensor Loss, torch.Tensor Embedding, torch.Tensor? Assignment = null);
