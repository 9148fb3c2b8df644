//! Real containerd, registry and images for tests and the demo
