package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
)

// owner is the label of all that these tests make in Docker. Its value is the
// process, so that what a killed one left behind is found by the next.
const owner = "watertight.integration"

// patience ends what hangs. Nothing that works comes near it.
const patience = 60 * time.Second

// daemon connects to Docker, once, and makes it usable: the settings that the
// machine needs, the server's image, and nothing left of a run that was killed.
var daemon = sync.OnceValues(func() (*testcontainers.DockerClient, error) {
	// Before the library's first look at its settings. What its reaper would do,
	// in a container of an image that not everybody can pull, sweep does.
	if _, chosen := os.LookupEnv("TESTCONTAINERS_RYUK_DISABLED"); !chosen {
		if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
			return nil, err
		}
	}
	tclog.SetDefault(tclog.NewNoopLogger())                                  // its errors say it all
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // the image may have to be made
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, fmt.Errorf("no Docker: %w", err)
	}
	info, err := docker.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, fmt.Errorf("no Docker: %w", err)
	}
	// In a container the library looks for published ports at the gateway, which
	// is right when Docker runs outside of it and wrong when it runs inside.
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	if _, chosen := os.LookupEnv("TESTCONTAINERS_HOST_OVERRIDE"); !chosen && info.Info.Name == host {
		if err := os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1"); err != nil {
			return nil, err
		}
	}
	image, err := dockerfileImage("broker")
	if err != nil {
		return nil, err
	}
	if _, err := docker.ImageInspect(ctx, image); err != nil {
		if out, err := exec.CommandContext(ctx, "../deploy/images.sh", "nats").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("no image %s; run `make images`: %w\n%s", image, err, out)
		}
	}
	return docker, sweep(ctx, docker)
})

// needDocker skips the test where there is no Docker, and fails it in CI.
func needDocker(t *testing.T) *testcontainers.DockerClient {
	t.Helper()
	docker, err := daemon()
	switch {
	case err == nil:
		return docker
	case os.Getenv("CI") == "true":
		t.Fatalf("CI has to run this test: %v", err)
	default:
		t.Skip(err)
	}
	return nil
}

// sweep removes what processes made that are no more.
func sweep(ctx context.Context, docker *testcontainers.DockerClient) error {
	dead := func(labels map[string]string) bool {
		pid, err := strconv.Atoi(labels[owner])
		return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	ours := make(client.Filters).Add("label", owner)
	containers, err := docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return err
	}
	for _, c := range containers.Items {
		if dead(c.Labels) {
			if _, err := docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
				return err
			}
		}
	}
	networks, err := docker.NetworkList(ctx, client.NetworkListOptions{Filters: ours})
	if err != nil {
		return err
	}
	for _, n := range networks.Items {
		if dead(n.Labels) {
			if _, err := docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
				return err
			}
		}
	}
	volumes, err := docker.VolumeList(ctx, client.VolumeListOptions{Filters: ours})
	if err != nil {
		return err
	}
	for _, v := range volumes.Items {
		if dead(v.Labels) {
			if _, err := docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// labels says whose a thing is.
func labels() map[string]string { return map[string]string{owner: strconv.Itoa(os.Getpid())} }

// dockerfileImage is what a stage of the Dockerfile is made from.
func dockerfileImage(stage string) (string, error) {
	file, err := os.ReadFile("../Dockerfile")
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^FROM (\S+) AS ` + stage + `$`).FindSubmatch(file)
	if m == nil {
		return "", fmt.Errorf("the Dockerfile has no stage %s", stage)
	}
	return string(m[1]), nil
}

// natsImage is the image of the official server.
func natsImage(t *testing.T) string {
	t.Helper()
	image, err := dockerfileImage("broker")
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// machine is a NATS server in a container. It keeps its address and its data
// whatever happens to it. The test's end removes it.
type machine struct {
	t      *testing.T
	docker *testcontainers.DockerClient
	ctr    *testcontainers.DockerContainer
	name   string
	net    *testcontainers.DockerNetwork
	port   int // on 127.0.0.1
}

// machineConfig says what is special about a machine.
type machineConfig struct {
	name   string   // by default nats-1
	peers  []string // of the cluster, itself included; nil: it is alone
	volume string   // where its data is; by default one of its own
	net    *testcontainers.DockerNetwork
}

// settings is the server's configuration.
func (c machineConfig) settings() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nport: 4222\nmax_payload: 2MiB\n", c.name)
	fmt.Fprint(&b, "jetstream { store_dir: /data, max_file_store: 8GiB }\n")
	if len(c.peers) > 0 {
		fmt.Fprint(&b, "cluster {\n name: shop\n port: 6222\n no_advertise: true\n routes: [\n")
		for _, p := range c.peers {
			fmt.Fprintf(&b, "  nats://%s:6222\n", p)
		}
		fmt.Fprint(&b, " ]\n}\n")
	}
	return b.String()
}

func startMachine(t *testing.T, cfg machineConfig) *machine {
	t.Helper()
	docker := needDocker(t)
	if cfg.name == "" {
		cfg.name = "nats-1"
	}
	if cfg.net == nil {
		cfg.net = newNetwork(t)
	}
	if cfg.volume == "" {
		cfg.volume = newVolume(t, docker, nil)
	}
	m := &machine{t: t, docker: docker, name: cfg.name, net: cfg.net, port: freePort(t)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctr, err := testcontainers.Run(
		ctx, natsImage(t),
		testcontainers.WithLabels(labels()),
		testcontainers.WithCmd("--config", "/etc/nats.conf"),
		testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader: strings.NewReader(cfg.settings()), ContainerFilePath: "/etc/nats.conf", FileMode: 0o444,
		}),
		testcontainers.WithMounts(testcontainers.VolumeMount(cfg.volume, "/data")),
		tcnetwork.WithNetwork([]string{cfg.name}, cfg.net),
		testcontainers.WithExposedPorts("4222/tcp"),
		testcontainers.WithHostConfigModifier(func(hc *container.HostConfig) {
			hc.PortBindings = network.PortMap{network.MustParsePort("4222/tcp"): {
				{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(m.port)},
			}}
		}),
	)
	testcontainers.CleanupContainer(t, ctr)
	if err != nil {
		t.Fatalf("start %s: %v", cfg.name, err)
	}
	m.ctr = ctr
	t.Cleanup(m.showLog)
	return m
}

// showLog says what the server said, when the test has failed.
func (m *machine) showLog() {
	if !m.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := m.ctr.Logs(ctx)
	if err != nil {
		m.t.Logf("no log of %s: %v", m.name, err)
		return
	}
	defer r.Close() //nolint:errcheck // it was only read
	var b bytes.Buffer
	_, _ = b.ReadFrom(r) // what there is
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	m.t.Logf("log of %s:\n%s", m.name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// url is where the server is reached, while it runs.
func (m *machine) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", m.port) }

// do runs one of the Docker commands on the machine.
func (m *machine) do(what string, f func(context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		m.t.Fatalf("%s %s: %v", what, m.name, err)
	}
}

// kill is kill -9.
func (m *machine) kill() {
	m.t.Helper()
	m.do("kill", func(ctx context.Context) error {
		_, err := m.docker.ContainerKill(ctx, m.ctr.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"})
		return err
	})
}

func (m *machine) stop() {
	m.t.Helper()
	m.do("stop", func(ctx context.Context) error {
		_, err := m.docker.ContainerStop(ctx, m.ctr.GetContainerID(), client.ContainerStopOptions{})
		return err
	})
}

// start starts a machine again that was killed or stopped, on its data.
func (m *machine) start() {
	m.t.Helper()
	m.do("start", func(ctx context.Context) error {
		_, err := m.docker.ContainerStart(ctx, m.ctr.GetContainerID(), client.ContainerStartOptions{})
		return err
	})
}

// pause freezes the server: its connections stay open, and silent.
func (m *machine) pause() {
	m.t.Helper()
	m.do("pause", func(ctx context.Context) error {
		_, err := m.docker.ContainerPause(ctx, m.ctr.GetContainerID(), client.ContainerPauseOptions{})
		return err
	})
}

func (m *machine) unpause() {
	m.t.Helper()
	m.do("unpause", func(ctx context.Context) error {
		_, err := m.docker.ContainerUnpause(ctx, m.ctr.GetContainerID(), client.ContainerUnpauseOptions{})
		return err
	})
}

// cut takes the server off its network; it goes on running.
func (m *machine) cut() {
	m.t.Helper()
	m.do("cut off", func(ctx context.Context) error {
		_, err := m.docker.NetworkDisconnect(ctx, m.net.ID, client.NetworkDisconnectOptions{Container: m.ctr.GetContainerID()})
		return err
	})
}

func (m *machine) heal() {
	m.t.Helper()
	m.do("connect", func(ctx context.Context) error {
		_, err := m.docker.NetworkConnect(ctx, m.net.ID, client.NetworkConnectOptions{
			Container: m.ctr.GetContainerID(), EndpointConfig: &network.EndpointSettings{Aliases: []string{m.name}},
		})
		return err
	})
}

// newNetwork makes a network that the test's end removes.
func newNetwork(t *testing.T) *testcontainers.DockerNetwork {
	t.Helper()
	needDocker(t)
	n, err := tcnetwork.New(t.Context(), tcnetwork.WithLabels(labels()))
	if err != nil {
		t.Fatal(err)
	}
	testcontainers.CleanupNetwork(t, n)
	return n
}

// newVolume makes a volume that the test's end removes.
func newVolume(t *testing.T, docker *testcontainers.DockerClient, options map[string]string) string {
	t.Helper()
	v, err := docker.VolumeCreate(t.Context(), client.VolumeCreateOptions{Labels: labels(), DriverOpts: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := docker.VolumeRemove(context.Background(), v.Volume.Name, client.VolumeRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove volume: %v", err)
		}
	})
	return v.Volume.Name
}

// freePort is a port that nobody listens on just now. A container that is started
// again keeps a port that was chosen, and gets another one that wasn't.
func freePort(t *testing.T) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was never used
	return l.Addr().(*net.TCPAddr).Port
}
