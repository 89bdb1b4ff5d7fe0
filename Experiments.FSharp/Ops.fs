module SslResearch.Ops
let x = 1
