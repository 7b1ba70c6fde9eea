// Hands the microphone's samples on in blocks, with the time at which each begins by the sound's own clock.

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(512);
    this.filled = 0;
  }

  process([[channel]]) {
    if (!channel) return true;
    if (!this.filled) this.start = currentTime;
    this.block.set(channel, this.filled);
    this.filled += channel.length;
    if (this.filled === this.block.length) {
      this.port.postMessage({ start: this.start, samples: this.block.slice() });
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("tap", Tap);
