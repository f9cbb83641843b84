/* A libnvidia-ml.so.1 for computers without a GPU: two GPUs, one of which computes.

   NVML_BROKEN makes its initialization fail, as with a driver whose module is not loaded. */

#include <stdlib.h>
#include <string.h>

typedef struct { unsigned index; } *Device;

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 6, NOT_LOADED = 9 };

static struct { unsigned index; } devices[2] = {{0}, {1}};
static const char *uuids[2] = {"GPU-11111111-2222", "GPU-99999999-8888"};

int nvmlInitWithFlags(unsigned flags) { return getenv("NVML_BROKEN") ? NOT_LOADED : SUCCESS; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return "Driver Not Loaded"; }

int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index > 1) return INVALID_ARGUMENT;
  *device = &devices[index];
  return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { return NOT_FOUND; }

int nvmlDeviceGetName(Device device, char *name, unsigned size) {
  strncpy(name, "NVIDIA Test 4090", size);
  return SUCCESS;
}

int nvmlDeviceGetUUID(Device device, char *uuid, unsigned size) {
  strncpy(uuid, uuids[device->index], size);
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device device, unsigned *rates) {
  rates[0] = device->index ? 0 : 90;
  rates[1] = 10;
  return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device device, unsigned long long *memory) {
  memory[0] = 24ull << 30;
  memory[2] = device->index ? 1ull << 30 : 6ull << 30;
  memory[1] = memory[0] - memory[2];
  return SUCCESS;
}

int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *celsius) {
  *celsius = 40 + device->index;
  return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatts) { return NOT_SUPPORTED; }
