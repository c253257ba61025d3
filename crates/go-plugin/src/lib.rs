//! HashiCorp go-plugin over gRPC, both ends: the server a plugin runs, and the client a host runs.
