//! Carries out a node's share of the plan: containerd, images, network, logs.
