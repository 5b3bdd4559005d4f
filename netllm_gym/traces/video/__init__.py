"""Videos: the bitrate ladder of a video, readers of manifests and MPDs, tiled videos."""

from netllm_gym.traces.video.manifest import VideoManifest as VideoManifest
from netllm_gym.traces.video.manifest import synthetic_video as synthetic_video
