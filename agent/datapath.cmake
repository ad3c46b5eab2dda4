# The loaded BPF object; knows nothing of applying or attaching.
sluice_module(sluice_datapath datapath.cpp kernel_clock.cpp kernel_layout.cpp libbpf_log.cpp pins.cpp
  LINK sluice_base sluice_bpf PkgConfig::libbpf)
