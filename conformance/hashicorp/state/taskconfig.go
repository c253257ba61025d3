package state

// TaskConfig is a task's configuration in the other dialect: the built-in driver's own test-suite and older tools encode
// structs with go-msgpack. Every field is there; what is unset is nil, empty or
// zero.
type TaskConfig struct {
	Image             string              `codec:"image"`
	ImagePullTimeout  string              `codec:"image_pull_timeout"`
	AdvertiseIPv6Addr bool                `codec:"advertise_ipv6_address"`
	Args              []string            `codec:"args"`
	Auth              Auth                `codec:"auth"`
	AuthSoftFail      bool                `codec:"auth_soft_fail"`
	CapAdd            []string            `codec:"cap_add"`
	CapDrop           []string            `codec:"cap_drop"`
	Command           string              `codec:"command"`
	CPUCFSPeriod      int64               `codec:"cpu_cfs_period"`
	CPUHardLimit      bool                `codec:"cpu_hard_limit"`
	Devices           []Device            `codec:"devices"`
	DNSOptions        []string            `codec:"dns_options"`
	DNSSearchDomains  []string            `codec:"dns_search_domains"`
	DNSServers        []string            `codec:"dns_servers"`
	Entrypoint        []string            `codec:"entrypoint"`
	ExtraHosts        []string            `codec:"extra_hosts"`
	ForcePull         bool                `codec:"force_pull"`
	GroupAdd          []string            `codec:"group_add"`
	Healthchecks      Healthchecks        `codec:"healthchecks"`
	Hostname          string              `codec:"hostname"`
	Init              bool                `codec:"init"`
	Interactive       bool                `codec:"interactive"`
	IPCMode           string              `codec:"ipc_mode"`
	IPv4Address       string              `codec:"ipv4_address"`
	IPv6Address       string              `codec:"ipv6_address"`
	Labels            []map[string]string `codec:"labels"`
	LoadImage         string              `codec:"load"`
	Logging           Logging             `codec:"logging"`
	MacAddress        string              `codec:"mac_address"`
	MemoryHardLimit   int64               `codec:"memory_hard_limit"`
	Mounts            []Mount             `codec:"mounts"`
	NetworkAliases    []string            `codec:"network_aliases"`
	NetworkMode       string              `codec:"network_mode"`
	PidsLimit         int64               `codec:"pids_limit"`
	PidMode           string              `codec:"pid_mode"`
	Ports             []string            `codec:"ports"`
	PortMap           []map[string]int    `codec:"port_map"`
	Privileged        bool                `codec:"privileged"`
	ReadonlyRootfs    bool                `codec:"readonly_rootfs"`
	Runtime           string              `codec:"runtime"`
	SecurityOpt       []string            `codec:"security_opt"`
	ShmSize           int64               `codec:"shm_size"`
	StorageOpt        map[string]string   `codec:"storage_opt"`
	Sysctl            []map[string]string `codec:"sysctl"`
	TTY               bool                `codec:"tty"`
	Ulimit            []map[string]string `codec:"ulimit"`
	UTSMode           string              `codec:"uts_mode"`
	UsernsMode        string              `codec:"userns_mode"`
	Volumes           []string            `codec:"volumes"`
	VolumeDriver      string              `codec:"volume_driver"`
	WorkDir           string              `codec:"work_dir"`
}

// Auth is an embedded struct: a map of its own, whether set or not.
type Auth struct {
	Username   string `codec:"username"`
	Password   string `codec:"password"`
	Email      string `codec:"email"`
	ServerAddr string `codec:"server_address"`
}

// Device is a device of the machine.
type Device struct {
	HostPath          string `codec:"host_path"`
	ContainerPath     string `codec:"container_path"`
	CgroupPermissions string `codec:"cgroup_permissions"`
}

// Healthchecks is about the image's own health check.
type Healthchecks struct {
	Disable bool `codec:"disable"`
}

// Logging is the logging driver.
type Logging struct {
	Type   string              `codec:"type"`
	Driver string              `codec:"driver"`
	Config []map[string]string `codec:"config"`
}

// Mount is a mount of any type.
type Mount struct {
	Type         string       `codec:"type"`
	Target       string       `codec:"target"`
	Source       string       `codec:"source"`
	ReadOnly     bool         `codec:"readonly"`
	BindOptions  BindOptions  `codec:"bind_options"`
	TmpfsOptions TmpfsOptions `codec:"tmpfs_options"`
}

// BindOptions are a bind mount's.
type BindOptions struct {
	Propagation string `codec:"propagation"`
}

// TmpfsOptions are a temporary file system's.
type TmpfsOptions struct {
	SizeBytes int64 `codec:"size"`
	Mode      int   `codec:"mode"`
}
